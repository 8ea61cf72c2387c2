"""CPU: how busy the node is, as a counter by mode and as a ready-made ratio since the last sample."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.metrics import Kind, Metric, Sample
from exporter.procfs.cgroup import Cgroup
from exporter.procfs.read import read_text
from exporter.procfs.system import CpuTimes, parse_stat

RATIO = Metric(
    "grid_node_cpu_ratio",
    Kind.GAUGE,
    "Share of the node's cores that was busy since the previous sample (not idle, not waiting for I/O).",
    "ratio 0-1",
    example="grid_node_cpu_ratio > 0.8",
)
SECONDS = Metric(
    "grid_node_cpu_seconds_total",
    Kind.COUNTER,
    "CPU time by mode, summed over the cores; with --scope=cgroup the modes are user and system.",
    "seconds",
    ("mode",),
    "sum by (mode) (rate(grid_node_cpu_seconds_total[1m]))",
)
USED = Metric(
    "grid_node_cpu_used_seconds_total",
    Kind.COUNTER,
    "Busy CPU time, summed over the cores.",
    "seconds",
    example="rate(grid_node_cpu_used_seconds_total[1m]) / grid_node_cpu_cores",
)
CORES = Metric(
    "grid_node_cpu_cores",
    Kind.GAUGE,
    "Cores the node can use: online CPUs, or with --scope=cgroup its quota or CPU set, which may be fractional.",
    "cores",
    example="sum(grid_node_cpu_cores)",
)

_SHORTEST_WINDOW = 0.1
"""Seconds; below this a ratio is mostly the granularity of the kernel's ticks."""

_JITTER_SECONDS = 3.0


class CpuCollector(Collector):
    """/proc/stat, or the cpu controller of the cgroup."""

    name = "cpu"
    metrics = (RATIO, SECONDS, USED, CORES)

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last_ticks: CpuTimes | None = None
        self._last_used: tuple[float, float] | None = None
        self._forward: dict[str, _Forward] = {}

    def collect(self) -> Iterable[Sample]:
        """One reader per scope."""
        times = parse_stat(read_text(self._node.procfs.root / "stat"))
        if self._node.cgroup is None:
            return self._host(times)
        return self._cgroup(self._node.cgroup, times.cpus)

    def _host(self, times: CpuTimes) -> Iterator[Sample]:
        hertz = self._node.procfs.ticks_per_second
        last, self._last_ticks = self._last_ticks, times
        if last is not None and times.total - last.total >= _SHORTEST_WINDOW * hertz * times.cpus:
            yield RATIO.sample(_clamp((times.busy - last.busy) / (times.total - last.total)))
        tolerance = int(_JITTER_SECONDS * hertz)
        steady = replace(
            times,
            ticks={
                mode: self._forward.setdefault(mode, _Forward()).value(ticks, tolerance)
                for mode, ticks in times.ticks.items()
            },
        )
        for mode, ticks in steady.ticks.items():
            yield SECONDS.sample(ticks / hertz, mode)
        yield USED.sample(steady.busy / hertz)
        yield CORES.sample(times.cpus)
        yield DETAIL_MISSING.sample(False, "cpu")

    def _cgroup(self, cgroup: Cgroup, host_cpus: int) -> Iterator[Sample]:
        cpu = cgroup.cpu()
        yield DETAIL_MISSING.sample(cpu is None, "cpu")
        if cpu is None:
            return
        cores, now = cpu.cores(host_cpus), self._node.clock()
        last, self._last_used = self._last_used, (now, cpu.used)
        if last is not None and now - last[0] >= _SHORTEST_WINDOW:
            yield RATIO.sample(_clamp((cpu.used - last[1]) / (now - last[0]) / cores))
        yield SECONDS.sample(cpu.user, "user")
        yield SECONDS.sample(cpu.system, "system")
        yield USED.sample(cpu.used)
        yield CORES.sample(cores)


class _Forward:
    """A counter that never runs backwards, of one that may: Prometheus would take every step back for a restart.

    Waiting time steps back by moments (man 5 proc): then the last value stands until it is reached again. By much more
    steps back the idle time of a CPU that goes offline: then what comes on top of that counts on.
    """

    def __init__(self) -> None:
        self._offset = self._last = 0

    def value(self, raw: int, tolerance: int) -> int:
        """The counter, after a reading of `raw`; a step back of more than `tolerance` is one for good."""
        back = self._last - (raw + self._offset)
        if back > tolerance:
            self._offset += back
        self._last = max(self._last, raw + self._offset)
        return self._last


def _clamp(ratio: float) -> float:
    """Into 0-1: idle and iowait may run backwards (man 5 proc), a quota may be overdrawn for a moment."""
    return min(1.0, max(0.0, ratio))
