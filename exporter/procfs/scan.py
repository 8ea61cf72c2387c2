"""The process scan: which processes matter on this node, at a cost that does not follow their number.

Everything is remembered by (pid, start time), so that a reused pid is a new process. Kernel threads and processes
without CPU use are passed over without a read where the CPU clocks allow it; the answer is the same without them.
"""

import heapq
import time
from collections.abc import Callable, Container
from dataclasses import dataclass

from exporter.procfs.clock import CpuClockGate
from exporter.procfs.pid import PidStat
from exporter.procfs.process import Procfs

_REFRESH_EVERY = 16
"""Scans after which sleepers are read again: reclaim and swapping change memory without CPU use."""

_DEAD_STATES = frozenset("ZXx")


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
    """A process as last read. `cores` is its CPU use since the scan before; None until it was seen twice."""

    stat: PidStat
    read_at: float
    cores: float | None


class ProcessScan:
    """Scans a procfs root; one instance lives as long as the exporter and keeps what it learnt."""

    def __init__(
        self, procfs: Procfs, gate: CpuClockGate | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._procfs = procfs
        self._gate = gate
        self._clock = clock
        self._known: dict[int, ScannedProcess] = {}
        self._kernel: set[int] = set()
        self._scans = 0
        self._last_scan: float | None = None

    def sample(self, significance: Significance, always: Container[int] = ()) -> list[ScannedProcess]:
        """The processes that matter, most demanding first; those in `always` count whatever they use."""
        now = self._clock()
        refresh = self._scans % _REFRESH_EVERY == 0
        if refresh:
            self._kernel.clear()  # a kernel thread's pid may have become a program's
        pids = [pid for pid in self._procfs.pids() if pid not in self._kernel]
        moved = set(self._gate.moved(pids)) if self._gate else set(pids)
        known: dict[int, ScannedProcess] = {}
        for pid in pids:
            before = self._known.get(pid)
            if before is None or refresh or pid in moved:
                found = self._read(pid, before, now)
                if found is not None:
                    known[pid] = found
            else:
                before.cores, before.read_at = 0.0, now
                known[pid] = before
        self._known, self._last_scan = known, now
        self._scans += 1
        return self._significant(significance, always)

    def _read(self, pid: int, before: ScannedProcess | None, now: float) -> ScannedProcess | None:
        stat = self._procfs.stat(pid)
        if stat is None:
            return None
        if stat.kernel_thread:
            self._kernel.add(pid)
            return None
        return ScannedProcess(stat, now, self._cores(stat, before, now))

    def _cores(self, stat: PidStat, before: ScannedProcess | None, now: float) -> float | None:
        if before is not None and before.stat.start_time == stat.start_time:
            ticks, since = stat.ticks - before.stat.ticks, before.read_at
        elif self._last_scan is not None:
            ticks, since = stat.ticks, self._last_scan  # born since then: all it used, it used since then
        else:
            return None
        window = now - since
        return max(0, ticks) / self._procfs.ticks_per_second / window if window > 0 else None

    def _significant(self, significance: Significance, always: Container[int]) -> list[ScannedProcess]:
        min_pages = significance.min_rss / self._procfs.page_size
        candidates = [
            process
            for pid, process in self._known.items()
            if process.stat.state not in _DEAD_STATES
            and (process.stat.rss >= min_pages or (process.cores or 0) >= significance.min_cpu or pid in always)
        ]

        def rank(process: ScannedProcess) -> tuple[bool, float, int]:
            cpu = (process.cores or 0.0) / significance.cores
            memory = process.stat.rss * self._procfs.page_size / significance.memory
            return process.stat.pid in always, max(cpu, memory), -process.stat.pid

        return heapq.nlargest(significance.top, candidates, key=rank)
