"""Which processes used any CPU since the last look, at about a microsecond each.

A process's CPU clock can be read by its pid without opening a file (POSIX clock_getcpuclockid; Linux builds the clock
id as `(~pid << 3) | 2`). It counts all threads, also those that ended, works across users, and stands still while a
process sleeps: only where it moved is /proc worth reading.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

_UNREADABLE = -1


class CpuClockGate:
    """Remembers every process's CPU clock between two looks."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def moved(self, pids: Iterable[int]) -> list[int]:
        """Those that are new, that used CPU since the last call, or whose clock cannot be read."""
        last, current = self._last, {pid: _cpu_nanoseconds(pid) for pid in pids}
        self._last = current
        return [pid for pid, clock in current.items() if clock == _UNREADABLE or clock != last.get(pid)]


def gate_for(proc: Path) -> CpuClockGate | None:
    """A gate, where the kernel's clocks work and its pids are those that `proc` shows; else None.

    Sandboxes may lack these clocks, a host's /proc mounted in a container shows other pids, and a fixture none at all.
    """
    own = os.getpid()
    try:
        shown = (proc / "self").readlink().name
        before = _cpu_nanoseconds(own)
        while time.process_time_ns() - before <= 0:
            pass  # a clock that is there moves while we look at it
        after = _cpu_nanoseconds(own)
    except OSError:
        return None
    works = shown == str(own) and before != _UNREADABLE and before < after <= time.process_time_ns()
    return CpuClockGate() if works and _cpu_nanoseconds(os.getppid() or own) != _UNREADABLE else None


def _cpu_nanoseconds(pid: int) -> int:
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return _UNREADABLE
