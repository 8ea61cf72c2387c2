"""Which processes exist, and which of them used CPU since the last look: at a cost that follows what happens.

Two ways to the same answer. Over its own /proc and with working CPU clocks, a sleeping process costs one clock
reading, and new ones are found by the pids that the kernel gave out since. Else everything is listed and read.
"""

import os
import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import compress
from operator import ne
from typing import NamedTuple, Protocol

from exporter.procfs.clock import UNREADABLE, clock_id, clocks_work, read_clocks
from exporter.procfs.pid import PidStat
from exporter.procfs.process import Procfs
from exporter.procfs.read import ParseError, read_text

__all__ = ["ClockedPopulation", "ListedPopulation", "Look", "Population", "Worked", "population_of"]

_LIST_EVERY = 20
"""Looks after which all pids are listed: for processes that got a pid out of order (clone3 with set_tid)."""

_IN_FLIGHT = 64
"""Pids looked at once more: a fork takes its number a moment before it is found by it (kernel/fork.c, copy_process)."""

_LISTED_BY_ASKED = 2
"""What it costs to list a process, by what it costs to ask for the clock of one that is gone."""

_MANY_FORKS = 16384
"""Half of the lowest usual pid_max: with so many since the last look, pids may have gone round unnoticed."""


_MALFORMED = -1, 0
"""In place of start time and ticks, where stat could not be understood."""


class Worked(NamedTuple):
    """A process that used CPU: nanoseconds in all, and since the last look (None: how much is not known).

    `stat` where the way of looking had to read it anyway.
    """

    pid: int
    total: int
    since: int | None
    stat: PidStat | None = None


class Look(NamedTuple):
    """What changed. `born`: not there before, or others under the same pid; `worked`: there before.

    `suspect`: pids have gone round, so that any of `worked` may be somebody else by now.
    """

    born: list[Worked]
    worked: list[Worked]
    gone: list[int]
    suspect: bool = False


class Population(Protocol):
    """Looks at all processes; remembers what it saw."""

    def look(self, forks: int | None) -> Look:
        """The changes since the last call.

        `forks` is the count of /proc/stat, read not long before; None where that is not known. Raises OSError when
        /proc itself cannot be listed.
        """

    def drop(self, pid: int, *, for_good: bool) -> None:
        """Forget a process; with `for_good` pass it over as well, until pids are listed again (kernel threads)."""


def population_of(procfs: Procfs) -> Population:
    """The cheaper way where it works."""
    return ClockedPopulation(procfs) if clocks_work(procfs.root) else ListedPopulation(procfs)


@dataclass(frozen=True, slots=True)
class _Search:
    """Pids that may be new processes. `late`: those found may have been there for long; `round_trip`: as suspect."""

    pids: set[int] = field(default_factory=set)
    listed: bool = False
    late: bool = False
    round_trip: bool = False


class ClockedPopulation:
    """By CPU clocks and by the range of pids given out since the last look."""

    def __init__(self, procfs: Procfs) -> None:
        self._procfs = procfs
        self._pids: list[int] = []
        self._ids: list[int] = []
        self._clocks: list[int] = []
        self._known: set[int] = set()
        self._dropped: set[int] = set()
        self._passed_over: set[int] = set()
        self._looks = 0
        self._forks: int | None = None
        self._last_pid: int | None = None
        self._in_order = self._is_in_order()

    def look(self, forks: int | None) -> Look:
        """About a microsecond a process; where the kernel does not tell what was forked, that of a listing."""
        search = self._search(forks)  # what can fail, before anything is remembered
        self._sweep()
        found = Look([], [], [], suspect=search.round_trip and self._looks > 0)
        self._compare(found)
        if search.listed:
            self._passed_over.clear()
        self._add(search.pids - self._known - self._passed_over, found, late=search.late)
        self._looks += 1
        return found

    def drop(self, pid: int, *, for_good: bool) -> None:
        """Takes effect at the next look: one pass for all."""
        self._dropped.add(pid)
        if for_good:
            self._passed_over.add(pid)

    def _compare(self, found: Look) -> None:
        pids, before, clocks = self._pids, self._clocks, read_clocks(self._ids)
        self._clocks = clocks
        gone: list[int] = []
        for at in compress(range(len(pids)), map(ne, before, clocks)):
            pid, total = pids[at], clocks[at]
            if total == UNREADABLE:
                gone.append(at)
            elif total < before[at]:  # clocks of living processes do not run backwards
                found.born.append(Worked(pid, total, total))
            else:
                found.worked.append(Worked(pid, total, total - before[at]))
        found.gone.extend(pids[at] for at in gone)
        self._known.difference_update(found.gone)
        for at in reversed(gone):
            del pids[at], self._ids[at], clocks[at]

    def _search(self, forks: int | None) -> _Search:
        """Where new processes may be."""
        last_pid, before, forks_before = self._given_out(), self._last_pid, self._forks
        first = self._looks == 0
        if last_pid is None or before is None or forks is None or forks_before is None:
            search = self._list(late=first, round_trip=True)
        elif last_pid < before or forks - forks_before >= _MANY_FORKS:
            search = self._list(late=False, round_trip=True)
        elif self._looks % _LIST_EVERY == 0:
            search = self._list(late=True)
        elif forks == forks_before:
            return _Search()  # the range stays open: a pid may have been given out that nobody has yet
        else:
            search = _Search(self._between(max(1, before - _IN_FLIGHT), last_pid))
        self._last_pid, self._forks = last_pid, forks
        return search

    def _between(self, first: int, last: int) -> set[int]:
        """Pids that may be new, those given out from `first` to `last` among them.

        All of those, to be asked for one by one; or what a listing from `first` on has, which after a round trip of the
        pids is everybody who was there before it.
        """
        known_from_there = len(self._pids) - bisect_left(self._pids, first)
        if self._in_order and known_from_there * _LISTED_BY_ASKED < last - first:
            return set(self._procfs.pids_from(first))
        return set(range(first, last + 1))

    def _is_in_order(self) -> bool:
        """Whether a listing of /proc can begin at a pid."""
        own = os.getpid()
        try:
            found = self._procfs.pids_from(own)
        except OSError:
            return False
        return own in found and min(found) > own - _IN_FLIGHT

    def _list(self, *, late: bool, round_trip: bool = False) -> _Search:
        return _Search(set(self._procfs.pids()), listed=True, late=late, round_trip=round_trip)

    def _given_out(self) -> int | None:
        """The pid given out last; None where that is not known, or told by somebody else (lxcfs, over procfs)."""
        try:
            file = self._procfs.root / "loadavg"
            if file.stat().st_dev != self._procfs.root.stat().st_dev:
                return None
            return _last_pid(read_text(file))
        except (OSError, ParseError):
            return None

    def _add(self, pids: set[int], found: Look, *, late: bool) -> None:
        """`late`: they may have been there for long, so how much they used since the last look is not known."""
        own_thread = threading.get_native_id()
        if own_thread != os.getpid():
            pids.discard(own_thread)  # for the caller's own thread, and no other, the process's clock answers
        ordered = sorted(pids)
        ids = list(map(clock_id, ordered))
        for pid, identifier, total in zip(ordered, ids, read_clocks(ids), strict=True):
            if total == UNREADABLE:
                continue
            at = bisect_left(self._pids, pid)
            self._pids.insert(at, pid)
            self._ids.insert(at, identifier)
            self._clocks.insert(at, total)
            self._known.add(pid)
            found.born.append(Worked(pid, total, None if late else total))

    def _sweep(self) -> None:
        if not self._dropped:
            return
        keep = [pid not in self._dropped for pid in self._pids]
        self._pids = list(compress(self._pids, keep))
        self._ids = list(compress(self._ids, keep))
        self._clocks = list(compress(self._clocks, keep))
        self._known -= self._dropped
        self._dropped.clear()


class ListedPopulation:
    """By listing and reading all of them: the plain way, for a /proc that is not this kernel's own view."""

    def __init__(self, procfs: Procfs) -> None:
        self._procfs = procfs
        self._seen: dict[int, tuple[int, int]] = {}
        self._passed_over: set[int] = set()
        self._looks = 0

    def look(self, forks: int | None) -> Look:  # noqa: ARG002 -- the other way needs it
        """All processes that can be read; each counts as having worked, for what it used is known to a tick only."""
        if self._looks % _LIST_EVERY == 0:
            self._passed_over.clear()
        found, seen, first = Look([], [], []), {}, self._looks == 0
        nanoseconds = 1_000_000_000 // self._procfs.ticks_per_second
        for pid in self._procfs.pids():
            if pid in self._passed_over:
                continue
            try:
                stat = self._procfs.stat(pid)
            except ParseError:
                seen[pid] = _MALFORMED
                found.born.append(Worked(pid, 0, None))
                continue
            if stat is None:
                continue
            seen[pid] = stat.start_time, stat.ticks
            start, ticks = self._seen.get(pid, (None, 0))
            if start != stat.start_time:
                total = stat.ticks * nanoseconds
                found.born.append(Worked(pid, total, None if first or start == _MALFORMED[0] else total, stat))
            else:
                since = max(0, stat.ticks - ticks) * nanoseconds
                found.worked.append(Worked(pid, stat.ticks * nanoseconds, since, stat))
        found.gone.extend(self._seen.keys() - seen.keys())
        self._seen = seen
        self._looks += 1
        return found

    def drop(self, pid: int, *, for_good: bool) -> None:
        """At once."""
        self._seen.pop(pid, None)
        if for_good:
            self._passed_over.add(pid)


def _last_pid(loadavg: str) -> int:
    """The fifth field: the pid given out last in the reader's pid namespace (man 5 proc)."""
    try:
        return int(loadavg.split()[4])
    except (ValueError, IndexError) as error:
        raise ParseError(f"/proc/loadavg: {loadavg[:80]!r}") from error
