"""Whether a job is held still by its move: told by the cgroup that the move's guard has put it into.

Whoever holds its terminal goes by that alone while the job is being copied. No message has to reach him when the
watchdog lets it run on, and none can be lost.
"""

from __future__ import annotations

import signal

from .. import proc

__all__ = ["Frost", "holds"]

_LOOK_S = 0.2
_PF_EXITING = 0x4  # include/linux/sched.h; proc_pid_stat(5), flags
_FLAGS = 6  # behind the name


def holds(pid: int, move: str) -> bool:
    """Whether the guard of that move has it."""
    name = f"grid-offload-{move}".encode("ascii")
    try:
        lines = proc.read_bytes(f"/proc/{pid}/cgroup").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(name in line.split(b"/") for line in lines)


class Frost:
    """Of one process for one move."""

    def __init__(self, pid: int, move: str, now: float) -> None:
        """Args: now: CLOCK_BOOTTIME, as in `over`."""
        self.move = move
        self._pid = pid
        self.due = now + _LOOK_S
        self._ran = False

    def over(self, now: float) -> bool:
        """Whether it runs again. Seen twice: one that was just killed looks for a moment as if it did."""
        if now < self.due:
            return False
        self.due = now + _LOOK_S
        ran, self._ran = self._ran, _runs(self._pid, self.move)
        return ran and self._ran


def _runs(pid: int, move: str) -> bool:
    try:
        if holds(pid, move):
            return False
        fields = proc.read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        status = proc.status(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    killed = pending & 1 << (signal.SIGKILL - 1)
    return fields[0] not in (b"Z", b"X", b"x") and not killed and not int(fields[_FLAGS]) & _PF_EXITING
