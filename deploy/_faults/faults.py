"""The faults: each one hits, lasts for a while, and is mended. It hits every move of a batch."""

import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from _testbed import bed, controller, leftovers, monitoring, network, nodes, ray_cluster, services
from _testbed.files import sshd_program
from _testbed.shell import kill, wait_until

from _faults import disk, memory
from _faults.rig import Rig

__all__ = ["FAULTS", "Fault", "Victim"]

SSHD = re.compile(r"^(sshd: |\S*/sshd )")
LAUNCHER_S = 60


@dataclass(frozen=True)
class Victim:
    """A move that is under a fault: its load's process on the head, as the machine numbers it, and its job."""

    load: str
    pid: int
    outer_pid: int
    job: str


Hit = Callable[[Rig, Sequence[Victim]], None]
Step = Callable[[Rig], None]


def _nothing(_: Rig) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """What happens.

    Attributes:
        name: in the table and on the command line.
        text: for people.
        hit: the fault.
        heal: its end, `lasts_s` after the hit.
        then: what comes back after its end, in its own time.
        prepare: before the moves begin.
        adopt: done to each original, by its process id, before its move.
        tidy: after all.
    """

    name: str
    text: str
    hit: Hit
    heal: Step = _nothing
    lasts_s: float = 0.0
    then: Step = _nothing
    prepare: Step = _nothing
    adopt: Callable[[Rig, int], None] | None = None
    tidy: Step = _nothing


def kill_controller(rig: Rig, _: Sequence[Victim]) -> None:
    """Kill -9."""
    controller.kill(rig.settings)


def start_controller(rig: Rig) -> None:
    """As its service manager would."""
    rig.start_controller()


def kill_launchers(rig: Rig, victims: Sequence[Victim]) -> None:
    """Kill -9 of each move's launcher on the target; one that is still to come, as soon as it is there."""
    missing = [victim for victim in victims if not _kill_launcher(rig, victim)]
    if missing:
        threading.Thread(target=_kill_when_there, args=(rig, missing), daemon=True).start()


def _kill_when_there(rig: Rig, missing: list[Victim]) -> None:
    deadline = time.monotonic() + LAUNCHER_S
    while missing and time.monotonic() < deadline:
        missing = [victim for victim in missing if not _kill_launcher(rig, victim)]
        time.sleep(0.02)


def _kill_launcher(rig: Rig, victim: Victim) -> bool:
    """The topmost process of its role: below it are its warden and the job."""
    holding = leftovers.launchers(rig.settings, rig.target, "hold")
    mine = [pid for pid, line in holding.items() if f"/attempts/{victim.job}.1" in line]
    top = [pid for pid in mine if leftovers.parent(pid) not in mine]
    for pid in top:
        kill(pid, signal.SIGKILL)
    return bool(top)


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
    """Kill -9 by its owner."""
    for victim in victims:
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


FAULTS = (
    Fault("controller-kill", "controller SIGKILL, started again", kill_controller, start_controller, 2.0),
    Fault("launcher-kill", "launcher killed", kill_launchers),
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
)  # fmt: skip
