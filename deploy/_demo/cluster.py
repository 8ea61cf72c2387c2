"""The cluster of the demo, and the work that gets its head into trouble."""

import shlex
import subprocess

from _testbed import bed, controller, monitoring, nodes, ray_cluster
from _testbed.settings import Settings
from _testbed.shell import wait_until

__all__ = ["start", "start_load"]

START_S = 30


def start(settings: Settings, *, rule: bool) -> None:
    """Bring up hosts, Ray, monitoring and the controller. Without `rule` its rule only observes."""
    bed.up(settings)
    ray_cluster.up(settings, controller.ACCOUNT)
    monitoring.up(settings)
    controller.configure(settings, mode="auto" if rule else "observe")
    controller.start(settings)


def start_load(settings: Settings, name: str, *, cores: float) -> int:
    """Start work on the head, as its user would with nohup, declared safe to run again from the start.

    Returns: its process id on the head.
    """
    ready = settings.shared / f"{name}.pid"
    ready.unlink(missing_ok=True)
    program = str(settings.root / "bin" / "load.py")
    command = ["/usr/bin/python3", program, f"--name={name}", f"--cpu={cores}", f"--ready-file={ready}"]
    output = shlex.quote(str(settings.shared / f"{name}.out"))
    shell = f"exec setsid --fork {shlex.join(command)} </dev/null >>{output} 2>&1"
    line = ["env", "GRID_OFFLOAD=allow", "bash", "-c", shell]
    subprocess.run(
        nodes.argv(settings, settings.head, line, controller.ACCOUNT, cwd=str(settings.shared)),
        check=True,
        preexec_fn=nodes.group(settings, settings.head).join,
    )
    wait_until(ready.exists, START_S, f"{name} to run")
    return int(ready.read_text(encoding="ascii"))
