"""SIGSTOP, where no freezer may be used: visible to parents and shells, so only where nobody can undo or notice it.

The kernel sends SIGCONT to the stopped members of a process group that becomes orphaned (setpgid(2), credentials(7));
a job-control shell sees its job stop and goes on with its next command. Both need a link from the group to a process
outside the job in the same session, so a job with such a link is not stopped this way.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

from . import proc
from .errors import LauncherError
from .lease import boottime
from .members import Members
from .wire import Document

__all__ = ["StopFreezer", "anchor", "pause_before", "stopped"]

_PAUSE_S = 0.001
_STOPPED = frozenset("TtZXx")


class StopFreezer:
    """The way without any privilege."""

    how = "stop"

    def freeze(self, members: Members, deadline: float, wrote: Callable[[], None]) -> list[int]:
        """See freezer.Freezer."""
        members.scan()
        outside = anchor({held.pid for held in members.alive()})
        if outside is not None:
            raise LauncherError(
                "FREEZE_FAILED",
                f"process {outside}, outside the job, controls its process group (a shell?): "
                "stopping it would be noticed, and undone when that one ends",
            )
        wrote()
        try:
            while True:
                self._stop_all(members)
                fresh = members.scan()
                if not fresh and all(stopped(held.pid) for held in members.alive()):
                    return self.pids(members)
                pause_before(deadline)
        except BaseException:
            self.thaw(members)
            raise

    def _stop_all(self, members: Members) -> None:
        for held in members.alive():
            if not stopped(held.pid):
                held.signal(signal.SIGSTOP)

    def pids(self, members: Members) -> list[int]:
        """See freezer.Freezer."""
        return sorted(held.pid for held in members.alive())

    def intact(self, members: Members) -> bool:
        """See freezer.Freezer."""
        return all(stopped(held.pid) for held in members.alive())

    def thaw(self, members: Members) -> None:
        """Children first, so that no parent sees a stopped child."""
        for held in reversed(members.alive()):
            held.signal(signal.SIGCONT)

    def memory(self) -> Document:
        """See freezer.Freezer."""
        return {"how": self.how}


def anchor(members: set[int]) -> int | None:
    """A process outside the job that holds one of its process groups to their session; None: stopping is safe."""
    stats = {stat.pid: stat for stat in proc.all_stats()}
    groups = {stats[pid].pgrp for pid in members if pid in stats}
    for stat in stats.values():
        parent = stats.get(stat.ppid)
        if stat.pgrp not in groups or parent is None or parent.pid in members:
            continue
        if parent.session == stat.session and parent.pgrp != stat.pgrp:
            return parent.pid
    return None


def pause_before(deadline: float) -> None:
    """Wait a moment before looking again. Raises LauncherError (FREEZE_FAILED) after the deadline."""
    if boottime() >= deadline:
        raise LauncherError("FREEZE_FAILED", "not every process stopped in time")
    select.select([], [], [], _PAUSE_S)


def stopped(pid: int) -> bool:
    """Whether every thread has stopped."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        states = [proc.read_bytes(f"/proc/{pid}/task/{one}/stat").rpartition(b")")[2].split()[0] for one in threads]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all(state.decode("ascii") in _STOPPED for state in states)
