"""The processes of a job as both nodes can tell them: what must be there again after a restore.

Pids are those inside the job's own pid namespace: the only ones that a restore keeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from .. import proc
from ..wire import Document, pack_bytes

__all__ = ["Task", "differences", "foreground_of", "look", "look_all", "pid_inside", "shares_namespaces"]


class Task(NamedTuple):
    """One process. `parent` is 0 for the leader, whose parent does not belong to the job."""

    pid: int
    parent: int
    uid: int
    threads: int
    program: str  # base64: a path may hold any byte

    def document(self) -> Document:
        """As JSON."""
        return self._asdict()


def pid_inside(status: dict[str, str]) -> int:
    """The pid that a process has in its own namespace, from its /proc/PID/status (proc_pid_status(5): NSpid)."""
    return int(status["NSpid"].split()[-1])


def foreground_of(leader: int) -> int | None:
    """The process group in the foreground of its terminal, as the job knows it; None where that cannot be said."""
    stat = proc.read_stat(leader)
    try:
        return pid_inside(proc.status(stat.tpgid)) if stat is not None and stat.tpgid > 0 else None
    except (FileNotFoundError, ProcessLookupError):
        return None  # its first process has ended


def shares_namespaces(pid: int) -> bool:
    """Whether a process sees the same processes and mounts as we do. Raises OSError."""
    return all(os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "mnt"))


def look(pid: int) -> Task | None:
    """One process, by the pid that we see; None when it has ended. Raises PermissionError."""
    stat = proc.read_stat(pid)
    if stat is None or stat.dead:
        return None
    try:
        status = proc.status(pid)
        program = os.readlink(f"/proc/{pid}/exe".encode("ascii"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    uid = int(status["Uid"].split()[0])
    return Task(pid_inside(status), stat.ppid, uid, int(status["Threads"]), pack_bytes(program))


def look_all(pids: Iterable[int]) -> list[Task]:
    """Those that have not ended, by ascending pid; parents outside are 0."""
    found = {pid: task for pid in pids if (task := look(pid)) is not None}
    inside = {pid: task.pid for pid, task in found.items()}
    return sorted(task._replace(parent=inside.get(task.parent, 0)) for task in found.values())


def differences(wanted: Iterable[Document], found: Iterable[Task]) -> list[str]:
    """How the restored processes differ from those that were dumped, in sentences; nothing when all are there."""
    expected = {int(one["pid"]): one for one in wanted}
    present = {task.pid: task.document() for task in found}
    missing = [f"process {pid} was not restored" for pid in expected.keys() - present.keys()]
    strange = [f"process {pid} was not dumped" for pid in present.keys() - expected.keys()]
    changed = [
        f"process {pid} has {name} {present[pid][name]}, not {expected[pid][name]}"
        for pid in expected.keys() & present.keys()
        for name in Task._fields
        if present[pid][name] != expected[pid][name]
    ]
    return sorted([*missing, *strange, *changed])
