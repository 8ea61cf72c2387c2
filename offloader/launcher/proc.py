"""What /proc says about processes: just enough to know them again, walk their trees and copy their circumstances.

Sources: proc_pid_stat(5), proc_pid_status(5), proc_pid_limits(5).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .wire import Document

__all__ = [
    "Stat",
    "all_stats",
    "boot_id",
    "environ",
    "identity",
    "kill_pending",
    "pids",
    "read_bytes",
    "read_stat",
    "same",
    "status",
]

_DEAD = "ZXx"


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that matter here; `start_ticks` since boot makes a pid unique."""

    pid: int
    state: str
    ppid: int
    pgrp: int
    session: int
    tty: int
    tpgid: int
    start_ticks: int

    @property
    def dead(self) -> bool:
        """Whether it executes nothing any more (a zombie waits for its parent only)."""
        return self.state in _DEAD


def read_bytes(path: str) -> bytes:
    """A whole /proc file. Raises OSError (ENOENT and ESRCH alike when the process is gone)."""
    return Path(path).read_bytes()


def read_stat(pid: int) -> Stat | None:
    """One process, or None when it is gone."""
    try:
        text = read_bytes(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # comm may hold spaces and parentheses: everything after the last one is regular.
    fields = text[text.rindex(b")") + 2 :].split()
    ppid, pgrp, session, tty, tpgid = (int(field) for field in fields[1:6])
    return Stat(pid, fields[0].decode("ascii"), ppid, pgrp, session, tty, tpgid, start_ticks=int(fields[19]))


def pids() -> Iterator[int]:
    """Every process id in ascending order: what is forked during the walk still comes up in it."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)


def all_stats() -> Iterator[Stat]:
    """Every process that is still there when its turn comes."""
    for pid in pids():
        stat = read_stat(pid)
        if stat is not None:
            yield stat


def same(pid: int, start_ticks: int) -> bool:
    """Whether that very process still executes."""
    stat = read_stat(pid)
    return stat is not None and stat.start_ticks == start_ticks and not stat.dead


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status as a mapping."""
    lines = read_bytes(f"/proc/{pid}/status").decode("utf-8", "replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def kill_pending(pid: int) -> bool:
    """Whether a KILL was sent to that process, and it still has to act on it. False when it is gone."""
    try:
        facts = status(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    pending = int(facts["SigPnd"], 16) | int(facts["ShdPnd"], 16)
    return bool(pending >> (signal.SIGKILL - 1) & 1)


def environ(pid: int) -> list[bytes]:
    """The environment that the process was started with, entry by entry."""
    return [entry for entry in read_bytes(f"/proc/{pid}/environ").split(b"\0") if entry]


def boot_id() -> str:
    """Changes with every boot of the kernel."""
    return read_bytes("/proc/sys/kernel/random/boot_id").decode("ascii").strip()


def identity(pid: int) -> Document | None:
    """What makes it this process (model.Identity), or None when it is gone. Raises PermissionError."""
    stat = read_stat(pid)
    if stat is None or stat.dead:
        return None
    try:
        executable = os.stat(f"/proc/{pid}/exe")
        uid = int(status(pid)["Uid"].split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return None
    after = read_stat(pid)
    if after is None or after.start_ticks != stat.start_ticks:
        return None
    return {
        "boot_id": boot_id(),
        "pid": pid,
        "start_ticks": stat.start_ticks,
        "uid": uid,
        "exe_dev": executable.st_dev,
        "exe_inode": executable.st_ino,
    }
