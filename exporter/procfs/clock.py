"""The CPU clocks of processes: who used any CPU since the last look, at about a microsecond each.

A process's CPU clock can be read by its pid without opening a file (POSIX clock_getcpuclockid; Linux builds the clock
id as `(~pid << 3) | 2`). It counts all threads, also those that ended, works across users, and stands still while a
process sleeps: only where it moved is /proc worth reading.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

UNREADABLE = -1
"""In place of a clock's nanoseconds: there is no such process (any more), or no clock of it."""


class CpuClockGate:
    """Remembers every process's CPU clock between two looks."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def moved(self, pids: Iterable[int]) -> list[int]:
        """Those that are new, that used CPU since the last call, or whose clock cannot be read."""
        numbers = list(pids)
        last, current = self._last, dict(zip(numbers, read_clocks(map(clock_id, numbers)), strict=True))
        self._last = current
        return [pid for pid, clock in current.items() if clock == UNREADABLE or clock != last.get(pid)]


def gate_for(proc: Path) -> CpuClockGate | None:
    """A gate, where the CPU clocks tell about the processes in `proc`; else None."""
    return CpuClockGate() if clocks_work(proc) else None


def clocks_work(proc: Path) -> bool:
    """Whether the kernel has these clocks and its pids are those that `proc` shows.

    Sandboxes may lack these clocks, a host's /proc mounted in a container shows other pids, and a fixture none at all.
    """
    own = os.getpid()
    try:
        shown = (proc / "self").readlink().name
        before = cpu_nanoseconds(own)
        while time.process_time_ns() - before <= 0:
            pass  # a clock that is there moves while we look at it
        after = cpu_nanoseconds(own)
    except OSError:
        return False
    works = shown == str(own) and before != UNREADABLE and before < after <= time.process_time_ns()
    return works and cpu_nanoseconds(os.getppid() or own) != UNREADABLE


def clock_id(pid: int) -> int:
    """The number of a process's CPU clock (include/linux/posix-timers_types.h, CPUCLOCK_SCHED without PERTHREAD)."""
    return (~pid << 3) | 2


def cpu_nanoseconds(pid: int) -> int:
    """CPU time of all threads that the process ever had, or UNREADABLE."""
    try:
        return time.clock_gettime_ns(clock_id(pid))
    except OSError:
        return UNREADABLE


def read_clocks(clock_ids: Iterable[int]) -> list[int]:
    """Nanoseconds of each clock, in order.

    The loop runs inside `list.extend`, at half the cost of one in Python. A clock that is gone raises there; what was
    read before it stays, and the iterator goes on behind it.
    """
    clocks: list[int] = []
    pending = map(time.clock_gettime_ns, clock_ids)
    while True:
        try:
            clocks.extend(pending)
        except OSError:
            clocks.append(UNREADABLE)
        else:
            return clocks
