"""The process scan: which processes matter on this node, at a cost that does not follow their number.

Looked at are those that used CPU and are either significant already, or may have become so: by their rate, or because
memory does not come without page faults, which are CPU time. Sleepers that matter are read again now and then.
"""

import heapq
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from exporter.procfs.pid import DEAD_STATES, PidStat
from exporter.procfs.population import Look, Population, Worked, population_of
from exporter.procfs.process import Procfs
from exporter.procfs.read import ParseError

__all__ = ["ProcessScan", "ScannedProcess", "Significance"]

_REFRESH_EVERY = 16
"""Scans within which every significant sleeper is read once: reclaim and swapping change memory without CPU use."""

_UNSEEN_NS = 500_000
"""CPU time after which memory is looked at again: to touch 4 MiB takes about as long, page by page."""


@dataclass(frozen=True, slots=True)
class Significance:
    """A process matters with `min_rss` bytes resident or `min_cpu` cores in use; the `top` of those are returned.

    They are ranked by the larger of their shares: of the node's `cores` and of its `memory` (bytes).
    """

    top: int
    min_rss: int
    min_cpu: float
    cores: float
    memory: int


@dataclass(slots=True)
class ScannedProcess:
    """A significant process as last read. `cpu_ns` is all the CPU time it used, `resident` its memory in pages.

    `cores` is its CPU use since the scan before; None until it was seen twice. `fresh`: read in this scan. `memory` is
    where under /proc its memory is shown: its pid, or a thread of it that outlived the first one. `settled`: it was
    significant before; one of those whose memory is `swapped_out` remains so.
    """

    stat: PidStat
    cpu_ns: int
    cores: float | None
    fresh: bool
    memory: int | str
    resident: int
    counts: bool = True
    settled: bool = False
    swapped_out: bool = False


class ProcessScan:
    """Scans a procfs root; one instance lives as long as the exporter and keeps what it learnt."""

    def __init__(
        self,
        procfs: Procfs,
        population: Population | None = None,
        clock: Callable[[], float] = time.monotonic,
        counts: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """Args: counts: whether a pid is one of those that are asked for; asked of significant ones, now and then."""
        self._procfs = procfs
        self._counts = counts
        self._population = population or population_of(procfs)
        self._clock = clock
        self._significant: dict[int, ScannedProcess] = {}
        self._looked: dict[int, int] = {}
        self._malformed: set[int] = set()
        self._scans = 0
        self._last_scan = 0.0
        self._min_pages = 0.0

    @property
    def malformed(self) -> bool:
        """Whether the kernel's answer about some process could not be understood; that process is left out."""
        return bool(self._malformed)

    def sample(
        self, forks: int | None, significance: Significance, always: Collection[int] = ()
    ) -> list[ScannedProcess]:
        """The processes that matter, most demanding first; those in `always` count whatever they use.

        `forks` is the count of /proc/stat, None where that is not known. Raises OSError when /proc cannot be listed.
        """
        now = self._clock()
        self._min_pages = significance.min_rss / self._procfs.page_size
        window_ns = (now - self._last_scan) * 1e9
        look = self._population.look(forks)
        for pid in look.gone:
            self._forget(pid)
        for process in self._significant.values():
            process.fresh = False
        self._take(look, significance.min_cpu, window_ns)
        for pid in [pid for pid, process in self._significant.items() if not process.fresh]:
            self._slept(pid)
        for pid in always:
            if pid not in self._significant and pid in self._looked:
                self._read(Worked(pid, self._looked[pid], 0), 0.0)
        self._weed(significance, always)
        self._last_scan = now
        self._scans += 1
        return self._ranked(significance, always)

    def _take(self, look: Look, min_cpu: float, window_ns: float) -> None:
        for one in look.born:
            self._forget(one.pid)
            self._read(one, _cores(one, window_ns))
        least_ns = min_cpu * window_ns
        significant, looked = self._significant, self._looked
        for one in look.worked:
            since = one.since or 0
            if (
                one.pid in significant
                or one.stat is not None
                or look.suspect
                or since >= least_ns
                or one.total - looked.get(one.pid, 0) >= _UNSEEN_NS
            ):
                self._read(one, _cores(one, window_ns))

    def _slept(self, pid: int) -> None:
        """Nothing but its memory can have changed."""
        process = self._significant[pid]
        process.cores = 0.0
        if self._is_due(pid):
            self._read(Worked(pid, process.cpu_ns, 0), 0.0)

    def _read(self, one: Worked, cores: float | None) -> None:
        pid = one.pid
        before = self._significant.pop(pid, None)
        try:
            stat = one.stat or self._procfs.stat(pid)
            found = None if stat is None or stat.kernel_thread else self._alive(stat, one.total)
        except ParseError:
            self._malformed.add(pid)
            return
        self._malformed.discard(pid)
        if stat is None or stat.kernel_thread:
            self._forget(pid)
            self._population.drop(pid, for_good=stat is not None)
            return
        self._looked[pid] = one.total
        if found is None:
            return
        found.cores = cores
        if before is not None and before.stat.start_time == stat.start_time:
            found.counts, found.settled, found.swapped_out = before.counts, before.settled, before.swapped_out
        elif before is not None:
            found.cores = None
        self._significant[pid] = found

    def _alive(self, stat: PidStat, cpu_ns: int) -> ScannedProcess | None:
        memory: int | str = stat.pid
        if stat.state in DEAD_STATES:
            thread = self._procfs.living_thread(stat.pid) if stat.threads > 1 else None
            if thread is None:
                return None
            memory, alive = thread
            stat = stat._replace(state=alive.state, rss=alive.rss)
        return ScannedProcess(stat, cpu_ns, None, True, memory, self._resident(stat, memory))

    def _resident(self, stat: PidStat, memory: int | str) -> int:
        """The figure in stat lags by what CPUs have not handed in yet; where that may decide, statm's counts."""
        if self._min_pages / 2 <= stat.rss < self._min_pages:
            statm = self._procfs.statm(memory)
            return stat.rss if statm is None else statm.resident
        return stat.rss

    def _weed(self, significance: Significance, always: Collection[int]) -> None:
        """Drops what does not matter (any more), and asks of the rest whether it counts."""
        insignificant = []
        for pid, process in self._significant.items():
            if (
                process.resident >= self._min_pages
                or (process.cores or 0.0) >= significance.min_cpu
                or pid in always
                or self._is_swapped_out(process, significance.min_rss)
            ):
                if not process.settled or self._is_due(pid):
                    process.counts, process.settled = self._counts(pid), True
            else:
                insignificant.append(pid)
        for pid in insignificant:
            del self._significant[pid]

    def _is_swapped_out(self, process: ScannedProcess, min_rss: int) -> bool:
        """Asked of those only that were significant before: they are the ones whose memory can have gone there."""
        if process.settled and process.fresh:
            try:
                status = self._procfs.status(process.memory)
            except ParseError:
                status = None
            process.swapped_out = status is not None and status.swap >= min_rss
        return process.swapped_out

    def _is_due(self, pid: int) -> bool:
        return pid % _REFRESH_EVERY == self._scans % _REFRESH_EVERY

    def _forget(self, pid: int) -> None:
        self._significant.pop(pid, None)
        self._looked.pop(pid, None)
        self._malformed.discard(pid)

    def _ranked(self, significance: Significance, always: Collection[int]) -> list[ScannedProcess]:
        page_size = self._procfs.page_size

        def rank(process: ScannedProcess) -> tuple[bool, float, int]:
            cpu = (process.cores or 0.0) / significance.cores
            memory = process.resident * page_size / significance.memory
            return process.stat.pid in always, max(cpu, memory), -process.stat.pid

        counted = (process for process in self._significant.values() if process.counts)
        return heapq.nlargest(significance.top, counted, key=rank)


def _cores(one: Worked, window_ns: float) -> float | None:
    return None if one.since is None or window_ns <= 0 else one.since / window_ns
