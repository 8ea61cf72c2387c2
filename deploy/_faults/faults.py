"""The faults: each one hits, lasts for a while, and is mended. It hits every move of a batch."""

import re
import signal
from collections.abc import Sequence

from _testbed import bed, controller, monitoring, network, nodes, ray_cluster, services
from _testbed.files import sshd_program
from _testbed.shell import kill, wait_until

from _faults import disk, memory, prey
from _faults.fault import Fault, Victim
from _faults.rig import Rig

__all__ = ["FAULTS", "of"]

SSHD = re.compile(r"^(sshd: |\S*/sshd )")


def kill_controller(rig: Rig, _: Sequence[Victim]) -> None:
    """Kill -9."""
    controller.kill(rig.settings)


def start_controller(rig: Rig) -> None:
    """As its service manager would."""
    rig.start_controller()


def kill_raylet(rig: Rig, _: Sequence[Victim]) -> None:
    """Ray dies on the target."""
    ray_cluster.kill_raylet(rig.settings, rig.target)


def start_ray(rig: Rig) -> None:
    """Start what is missing of Ray."""
    ray_cluster.up(rig.settings, controller.account(rig.settings))


def kill_node(rig: Rig, _: Sequence[Victim]) -> None:
    """The target loses power."""
    nodes.crash(rig.settings, rig.target)


def start_node(rig: Rig) -> None:
    """It comes back."""
    bed.up(rig.settings)


def start_services(rig: Rig) -> None:
    """Of whatever node came back, and Ray's last: it takes the longest."""
    monitoring.up(rig.settings)
    start_ray(rig)


def cut(rig: Rig, _: Sequence[Victim]) -> None:
    """The target's network cable."""
    network.cut(rig.settings, rig.target)


def mend(rig: Rig) -> None:
    """It is plugged in again."""
    network.mend(rig.settings, rig.target)


def cycle_head(rig: Rig, _: Sequence[Victim]) -> None:
    """The head loses power: originals, controller, Ray's head and Prometheus."""
    nodes.crash(rig.settings, rig.head)


def start_head(rig: Rig) -> None:
    """It comes back, with the controller."""
    bed.up(rig.settings)
    rig.start_controller()


def kill_originals(_: Rig, victims: Sequence[Victim]) -> None:
    """Kill -9 by its owner, unless it has ended."""
    for victim in victims:
        if f"--name={victim.load} " in nodes.command_line(victim.outer_pid):
            kill(victim.outer_pid, signal.SIGKILL)


def oom_originals(rig: Rig, victims: Sequence[Victim]) -> None:
    """For lack of memory in their control group, by the kernel."""
    memory.exhaust(rig, [victim.outer_pid for victim in victims])


def kill_sshd(rig: Rig, _: Sequence[Victim]) -> None:
    """Listener and every session on the target."""

    def dead() -> bool:
        found = _sshds(rig)
        for pid in found:
            kill(pid, signal.SIGKILL)
        return not found

    wait_until(dead, 10, "sshd to end")


def _sshds(rig: Rig) -> list[int]:
    pids = nodes.group(rig.settings, rig.target).pids()
    return [pid for pid in pids if SSHD.search(nodes.command_line(pid))]


def start_sshd(rig: Rig) -> None:
    """The listener again."""
    program, environment = sshd_program()
    own = rig.settings.node_dir(rig.target)
    command = [program, "-D", "-f", str(own / "sshd_config"), "-E", str(own / "sshd.log")]
    services.start(rig.settings, rig.target, "sshd", command, environment=environment)
    nodes.wait_for_port((rig.target.ip, 22), 30, f"sshd of {rig.target.name}")


def restart_ray(rig: Rig, _: Sequence[Victim]) -> None:
    """Ray's head dies and forgets everything."""
    ray_cluster.down(rig.settings, only=rig.head)


LIVE = ("live",)

FAULTS = (
    Fault("controller-kill", "controller SIGKILL, started again", kill_controller, start_controller, 2.0),
    Fault("launcher-kill", "launcher killed", prey=prey.launcher),
    Fault("raylet-kill", "target's raylet killed, started again after 20 s", kill_raylet, start_ray, 20.0),
    Fault("node-kill", "target node killed, started again after 20 s", kill_node, start_node, 20.0, start_services),
    Fault("partition", "target cut off for 30 s", cut, mend, 30.0),
    Fault("head-cycle", "head power-cycled", cycle_head, start_head, 2.0, start_services),
    Fault("original-kill", "original killed by its owner", kill_originals),
    Fault(
        "original-oom", "original killed by the kernel for lack of memory", oom_originals,
        prepare=memory.prepare, adopt=memory.adopt, tidy=memory.tidy,
    ),
    Fault("sshd-down", "sshd and its sessions killed on the target, back after 20 s", kill_sshd, start_sshd, 20.0),
    Fault("ray-restart", "Ray's head killed, Ray started again", restart_ray, start_ray, 0.0),
    Fault(
        "disk-full", "state directory's disk full for 20 s", disk.fill, disk.free, 20.0,
        prepare=disk.prepare, tidy=disk.tidy,
    ),
    Fault(
        "dump-kill", "criu killed at the source while it dumps",
        prey=prey.dump, passing=True, until="frozen", strategies=LIVE,
    ),
    Fault(
        "pages-kill", "criu killed at the target while it receives the memory",
        prey=prey.page_server, passing=True, until="frozen", strategies=LIVE,
    ),
    Fault(
        "restore-kill", "criu killed at the target while it restores",
        prey=prey.restore, passing=True, until="go", strategies=LIVE,
    ),
    Fault("cradle-kill", "first process of the copy's namespace killed", prey=prey.cradle, strategies=LIVE),
)  # fmt: skip


def of(strategy: str) -> list[Fault]:
    """Those that can hit its moves."""
    return [fault for fault in FAULTS if strategy in (fault.strategies or (strategy,))]
