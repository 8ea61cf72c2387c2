"""Work on the head: sample loads started as their user would with nohup."""

import shlex
import subprocess
from pathlib import Path

from _testbed import controller, nodes
from _testbed.settings import Settings
from _testbed.shell import wait_until

__all__ = ["end_file", "start_load"]

START_S = 30


def end_file(settings: Settings, name: str) -> Path:
    """Once this file exists, every copy of the load ends by itself, with exit code 0."""
    return settings.shared / f"{name}.end"


def start_load(settings: Settings, name: str, *, cores: float) -> int:
    """Start a load on the head, declared safe to run again from the start.

    Returns: its process id on the head.
    """
    ready = settings.shared / f"{name}.pid"
    ready.unlink(missing_ok=True)
    program = str(settings.root / "bin" / "load.py")
    files = [f"--ready-file={ready}", f"--end-file={end_file(settings, name)}"]
    command = ["/usr/bin/python3", program, f"--name={name}", f"--cpu={cores}", *files]
    output = shlex.quote(str(settings.shared / f"{name}.out"))
    shell = f"exec setsid --fork {shlex.join(command)} </dev/null >>{output} 2>&1"
    line = ["env", "GRID_OFFLOAD=allow", "bash", "-c", shell]
    subprocess.run(
        nodes.argv(settings, settings.head, line, controller.account(settings), cwd=str(settings.shared)),
        check=True,
        preexec_fn=nodes.group(settings, settings.head).join,
    )
    wait_until(ready.exists, START_S, f"{name} to run")
    return int(ready.read_text(encoding="ascii"))
