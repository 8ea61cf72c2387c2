"""Work on the head: sample loads started as their user would with nohup."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from _testbed import controller, nodes
from _testbed.settings import Settings
from _testbed.shell import wait_until

__all__ = ["AGAIN_IS_HARMLESS", "end_file", "start_load", "state_file"]

START_S = 30
AGAIN_IS_HARMLESS: Mapping[str, str] = {"GRID_OFFLOAD": "allow"}
"""Environment of a load that is declared safe to run again from the start."""


def end_file(settings: Settings, name: str) -> Path:
    """Once this file exists, every copy of the load ends by itself, with exit code 0."""
    return settings.shared / f"{name}.end"


def state_file(settings: Settings, name: str) -> Path:
    """Where a load that saves its state keeps it, on every node."""
    return settings.shared / f"{name}.state"


def start_load(
    settings: Settings,
    name: str,
    *,
    cores: float,
    options: Sequence[str] = (),
    environment: Mapping[str, str] = AGAIN_IS_HARMLESS,
) -> int:
    """Start a load on the head.

    Args:
        settings: of the test bed.
        name: what the witness files it under.
        cores: that it uses.
        options: more of load.py's.
        environment: what it declares of itself.

    Returns: its process id on the head.
    """
    ready = settings.shared / f"{name}.pid"
    ready.unlink(missing_ok=True)
    program = str(settings.root / "bin" / "load.py")
    files = [f"--ready-file={ready}", f"--end-file={end_file(settings, name)}"]
    command = ["/usr/bin/python3", program, f"--name={name}", f"--cpu={cores}", *files, *options]
    output = shlex.quote(str(settings.shared / f"{name}.out"))
    shell = f"exec setsid --fork {shlex.join(command)} </dev/null >>{output} 2>&1"
    line = ["env", *(f"{key}={value}" for key, value in environment.items()), "bash", "-c", shell]
    subprocess.run(
        nodes.argv(settings, settings.head, line, controller.account(settings), cwd=str(settings.shared)),
        check=True,
        preexec_fn=nodes.group(settings, settings.head).join,
    )
    wait_until(ready.exists, START_S, f"{name} to run")
    return int(ready.read_text(encoding="ascii"))
