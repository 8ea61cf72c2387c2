"""Who belongs to the original: the processes that were chosen, and whatever they have forked since."""

from __future__ import annotations

from collections.abc import Iterable

from . import proc
from .errors import LauncherError
from .pidfds import Held, hold, matches
from .wire import Document

__all__ = ["Members"]


class Members:
    """Handles on every process of one job; a pid that was re-used never gets in."""

    def __init__(self, held: Iterable[Held], leader: Held | None) -> None:
        self._held = {one.pid: one for one in held}
        self.leader = leader

    @classmethod
    def verified(cls, identities: list[Document]) -> Members:
        """Open a handle on each identity, the leader's first.

        Raises:
            LauncherError: ORIGINAL_GONE, PID_REUSED (the leader's); others that ended meanwhile are left out.
        """
        found: list[Held] = []
        for number, identity in enumerate(identities):
            held = hold(int(identity["pid"]), int(identity["start_ticks"]))
            if held is not None and matches(identity):
                found.append(held)
                continue
            if held is not None:
                held.close()
            if number == 0:
                raise LauncherError(*_why_not(identity))
        return cls(found, found[0])

    @classmethod
    def remembered(cls, known: list[Document]) -> Members:
        """Those that a former guard wrote down, the leader first, as far as they are still there."""
        found = [hold(int(one["pid"]), int(one["start_ticks"])) for one in known]
        return cls([one for one in found if one is not None], found[0] if found else None)

    @property
    def known(self) -> list[Document]:
        """What a later guard needs to find them again: the leader first."""
        return [{"pid": one.pid, "start_ticks": one.start_ticks} for one in self._held.values()]

    @property
    def leader_alive(self) -> bool:
        """Whether the job's first process still executes."""
        return self.leader is not None and self.leader.alive

    def alive(self) -> list[Held]:
        """Those that still execute, in the order in which they were found: parents first."""
        return [one for one in self._held.values() if one.alive]

    def killed(self) -> list[Held]:
        """Those that were sent a KILL which they have not carried out: the v1 freezer delivers it at the thaw."""
        return [one for one in self.alive() if proc.kill_pending(one.pid)]

    def scan(self) -> list[Held]:
        """Find what was forked since: descendants, and processes in a group or session that the job itself made."""
        stats = [stat for stat in proc.all_stats() if not stat.dead]
        fresh: list[Held] = []
        while True:
            # Only the living count: the pid of a dead member may be anybody's by now. A group or session number
            # stays taken while somebody is in it.
            living = {one.pid for one in self.alive()}
            made = {number for stat in stats if stat.pid in living for number in (stat.pgrp, stat.session)}
            made &= self._held.keys()
            found = [stat for stat in stats if stat.pid not in living and self._related(stat, living, made)]
            added = [self._held[stat.pid] for stat in found if self._add(stat.pid, stat.start_ticks)]
            if not added:
                return fresh
            fresh += added

    @staticmethod
    def _related(stat: proc.Stat, living: set[int], made: set[int]) -> bool:
        return stat.ppid in living or stat.pgrp in made or stat.session in made

    def include(self, pids: Iterable[int]) -> None:
        """Take in processes that are known to belong (they are in our cgroup)."""
        for pid in pids:
            stat = proc.read_stat(pid)
            if stat is not None and not stat.dead:
                self._add(pid, stat.start_ticks)

    def close(self) -> None:
        """Give all handles back."""
        for one in self._held.values():
            one.close()
        self._held.clear()

    def _add(self, pid: int, start_ticks: int) -> bool:
        known = self._held.get(pid)
        if known is not None and known.start_ticks == start_ticks:
            return False
        held = hold(pid, start_ticks)
        if held is None:
            return False
        if known is not None:
            known.close()
        self._held[pid] = held
        return True


def _why_not(identity: Document) -> tuple[str, str]:
    stat = proc.read_stat(int(identity["pid"]))
    if stat is None or stat.dead:
        return "ORIGINAL_GONE", f"process {identity['pid']} ended"
    return "PID_REUSED", f"process {identity['pid']} is not the one that was chosen any more"
