"""Programs that keep running inside a node: started, found again, stopped, each by its process group."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from _testbed import nodes
from _testbed.errors import TestbedError
from _testbed.settings import Node, Settings
from _testbed.shell import start_time, wait_until

STOP_S = 10


def _record(settings: Settings, node: Node, name: str) -> Path:
    return settings.node_dir(node) / f"{name}.json"


def log(settings: Settings, node: Node, name: str) -> Path:
    """Where the service's output goes."""
    return settings.node_dir(node) / f"{name}.log"


def group_of(settings: Settings, node: Node, name: str) -> int | None:
    """The process group (as the machine numbers it) of a running service, else None."""
    try:
        stored = json.loads(_record(settings, node, name).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):  # never started, or killed while writing
        return None
    return int(stored["pid"]) if start_time(stored["pid"]) == stored["start"] else None


def start(
    settings: Settings,
    node: Node,
    name: str,
    command: Sequence[str],
    *,
    user: str = "root",
    environment: Mapping[str, str] | None = None,
) -> None:
    """Start a service unless it runs. Raises NodeDownError."""
    if group_of(settings, node, name) is not None:
        return
    variables = [f"{key}={value}" for key, value in (environment or {}).items()]
    with log(settings, node, name).open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            nodes.argv(settings, node, ["env", *variables, *command], user),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            start_new_session=True,
            preexec_fn=nodes.group(settings, node).join,  # noqa: PLW1509 - single-threaded; makes it findable at once
        )
    stored = {"pid": process.pid, "start": start_time(process.pid)}
    _record(settings, node, name).write_text(json.dumps(stored), encoding="ascii")
    process.returncode = 0  # it lives on without us; Popen would warn about that


def stop(settings: Settings, node: Node, name: str, signum: int = signal.SIGTERM) -> None:
    """Signal a service's process group and wait for its end; KILL after a while. Nothing happens when it is down."""
    group = group_of(settings, node, name)
    if group is None:
        return
    with suppress(ProcessLookupError):
        os.killpg(group, signum)
    try:
        wait_until(lambda: not group_alive(group), STOP_S, f"{name} on {node.name} to end")
    except TestbedError:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        wait_until(lambda: not group_alive(group), STOP_S, f"{name} on {node.name} to be killed")


def group_alive(group: int) -> bool:
    """Whether a process of that group is left, zombies aside."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] not in "ZX":
                    return True
    return False
