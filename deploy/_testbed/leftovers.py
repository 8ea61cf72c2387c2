"""What a move may leave on the nodes, looked at from outside.

Stopped processes, control groups, launchers, and of live moves images, criu and cradles.
"""

import re
from pathlib import Path

from _testbed import nodes
from _testbed.settings import Node, Settings

__all__ = ["copiers", "cradles", "criu", "frozen", "images", "inner_pid"]
__all__ += ["launchers", "launchers_on", "outer_pid", "parent", "process_state"]

CRIU = re.compile(r"/criu (dump|restore|page-server) ")
CRADLE = "criu.init import main"
MARK = "OFFLOADING_TASK_ID="


def frozen(settings: Settings) -> list[str]:
    """Every stopped process and every frozen or left-over control group on the nodes; empty is how it should be."""
    found = []
    for node in settings.nodes:
        group = nodes.group(settings, node)
        found += [
            f"{node.name}: process {pid} is stopped: {nodes.command_line(pid)}"
            for pid in group.pids()
            if process_state(Path(f"/proc/{pid}")) in "Tt"
        ]
        for directory in filter(Path.is_dir, group.directories()):
            found += [f"{node.name}: {child} is left" for child in directory.rglob("grid-offload-*/")]
            found += [f"{file}: frozen" for file in directory.rglob("freezer.state") if "THAWED" not in _text(file)]
            found += [f"{file}: frozen" for file in directory.rglob("cgroup.events") if "frozen 1" in _text(file)]
    return found


def launchers(settings: Settings, node: Node, role: str) -> dict[int, str]:
    """The processes of one of the launcher's long-lived roles (guard, hold) on a node: id here → command line."""
    lines = {pid: nodes.command_line(pid) for pid in nodes.group(settings, node).pids()}
    return {pid: line for pid, line in lines.items() if "/launcher-" in line and f".pyz {role} " in line}


def launchers_on(settings: Settings) -> list[str]:
    """All of them on all nodes, as lines for people."""
    return [
        f"{node.name}: {line}"
        for node in settings.nodes
        for role in ("guard", "hold")
        for line in launchers(settings, node, role).values()
    ]


def criu(settings: Settings, node: Node, action: str) -> dict[int, str]:
    """The processes of one of criu's actions on a node: id here → command line, which names the image's directory.

    A task that is just being restored still goes by criu's command line, below it.
    """
    lines = {pid: nodes.command_line(pid) for pid in nodes.group(settings, node).pids()}
    return {pid: line for pid, line in lines.items() if (found := CRIU.search(line)) and found[1] == action}


def cradles(settings: Settings, node: Node) -> dict[int, str]:
    """The first processes of restored jobs' namespaces on a node: id here → the attempt, as `<job>.<epoch>`."""
    pids = [pid for pid in nodes.group(settings, node).pids() if CRADLE in nodes.command_line(pid)]
    return {pid: _attempt(pid) for pid in pids}


def copiers(settings: Settings) -> list[str]:
    """Everything of criu and all cradles on all nodes, as lines for people."""
    return [
        f"{node.name}: {what}"
        for node in settings.nodes
        for what in (
            *(line for action in ("dump", "restore", "page-server") for line in criu(settings, node, action).values()),
            *(f"a cradle of {attempt}" for attempt in cradles(settings, node).values()),
        )
    ]


def images(settings: Settings) -> list[str]:
    """The directories of images on all nodes' own disks: a move that is over has none."""
    privates = [settings.node_dir(node) / "private" for node in settings.nodes]
    return [f"{path} is left" for private in privates for path in private.rglob("image") if path.is_dir()]


def _attempt(pid: int) -> str:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return next((entry.removeprefix(MARK) for entry in environment if entry.startswith(MARK)), "")


def process_state(process: Path) -> str:
    """The state letter of a process or thread by its directory in /proc (proc(5)); X when it is gone."""
    try:
        return (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def inner_pid(pid: int) -> int | None:
    """A process's id as its node numbers it; None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


def parent(pid: int) -> int | None:
    """A process's parent; None when it is gone."""
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
        )
    except (FileNotFoundError, ProcessLookupError):
        return None


def outer_pid(settings: Settings, node: Node, inner: int) -> int | None:
    """A process by the id that its node gives it, as the machine numbers it; None when there is none."""
    return next((pid for pid in nodes.group(settings, node).pids() if inner_pid(pid) == inner), None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return "THAWED"
