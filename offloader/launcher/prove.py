"""Is the successor really at work? It has settled, said that it is ready, or finished; and it waits for no lock."""

from __future__ import annotations

import os
from pathlib import Path

from . import environment, proc
from .capsule import Image
from .fileprint import mark
from .reaper import descendants

__all__ = ["Proof", "waits_for_lock"]

_LOCK_PATIENCE_S = 1.0
_WAITING_IN_KERNEL = (b"lock_inode_wait", b"fcntl_setlk", b"sys_flock")


class Proof:
    """Looks for the proof of one launched successor; times are CLOCK_BOOTTIME seconds."""

    def __init__(self, image: Image, settle_s: float, now: float) -> None:
        self._settled_at = now + settle_s
        self._ready_file = _ready_file(image)
        self._stale = mark(self._ready_file)
        self._locked_since: float | None = None

    def restarted(self, now: float, settle_s: float) -> None:
        """The settle time counts from here; what the ready file was at the launch stays."""
        self._settled_at = now + settle_s

    @property
    def due(self) -> float:
        """When it is worth looking again, at the latest."""
        return self._settled_at if self._locked_since is None else self._locked_since + _LOCK_PATIENCE_S

    @property
    def watches_file(self) -> bool:
        """Whether looking more often than `due` makes sense."""
        return self._ready_file is not None

    def look(self, now: float) -> tuple[str, str] | None:
        """("proven", how), ("failed", why), or None: not yet."""
        if self._ready_file is not None and mark(self._ready_file) not in (None, self._stale):
            return "proven", "ready_file"
        if now < self.due:
            return None
        waiting = waits_for_lock([os.getpid(), *(stat.pid for stat in descendants(os.getpid()))])
        if waiting is None:
            return "proven", "settled"
        if self._locked_since is None:
            self._locked_since = now
            return None
        return "failed", f"process {waiting} waits for a lock, perhaps one that the original holds"


def _ready_file(image: Image) -> bytes | None:
    name = environment.value_of(image.environ, b"GRID_OFFLOAD_READY_FILE")
    return os.path.join(image.cwd, name) if name else None


def waits_for_lock(pids: list[int]) -> int | None:
    """The first of these processes that is blocked on a file lock (proc_locks(5), proc_pid_wchan(5))."""
    waiters = {
        int(fields[5])
        for fields in (line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines())
        if len(fields) > 5 and fields[1] == "->" and fields[5].isdigit()  # noqa: PLR2004 (columns of /proc/locks)
    }
    return next((pid for pid in pids if pid in waiters or _blocked(pid)), None)


def _blocked(pid: int) -> bool:
    try:
        where = proc.read_bytes(f"/proc/{pid}/wchan")
    except OSError:
        return False
    return any(name in where for name in _WAITING_IN_KERNEL)
