"""The processes that make the load: a bounded number of the significant ones. Never argv or environment in a label."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.collectors.followed import Followed, Following
from exporter.collectors.process_metrics import (
    CPU_RATIO,
    CPU_SECONDS,
    GPU_MEMORY,
    GPU_UTILISATION,
    INFO,
    IO_READ,
    IO_WRITE,
    MOVABLE,
    PER_PROCESS,
    RESIDENT,
    START,
    SWAP,
    THREADS,
    USS,
)
from exporter.metrics import Sample
from exporter.nvml import NvmlStaleError
from exporter.nvml_reader import Gpu
from exporter.procfs.read import ParseError, read_text
from exporter.procfs.scan import ProcessScan, ScannedProcess, Significance
from exporter.procfs.system import parse_meminfo, parse_stat

_IDENTITIES_KEPT = 4

_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""Its inode number (include/linux/proc_ns.h, PROC_PID_INIT_INO)."""

GpuUse = Mapping[int, list[tuple[str, int | None, float | None]]]
"""By pid: index of the GPU, bytes of its memory, share of its time."""


class ProcessCollector(Collector):
    """The process scan, with identities, movability and GPU use joined on."""

    name = "process"
    metrics = (*PER_PROCESS, GPU_MEMORY, GPU_UTILISATION, MOVABLE, INFO)

    def __init__(self, node: Node) -> None:
        self._node = node
        self._procfs = node.procfs
        self._scan = ProcessScan(node.procfs, clock=node.clock, counts=self._inside)
        limits = node.settings.process
        self._following = Following(node.procfs, limits.min_uid, _IDENTITIES_KEPT * limits.top)
        self._malformed = False
        self._cores = os.cpu_count() or 1
        self._memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._boot_time = round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))

    def collect(self) -> Iterator[Sample]:
        """Processes outside the cgroup in question are left out."""
        gpu_use = self._gpu_use()
        denied = unspoken = self._malformed = False
        self._following.begin()
        forks = self._learn()
        limits = self._node.settings.process
        significance = Significance(limits.top, limits.min_rss, limits.min_cpu, self._cores, self._memory)
        for process in self._scan.sample(forks, significance, gpu_use.keys()):
            followed = self._follow(process)
            if followed is None:
                continue
            denied = denied or followed.details.denied
            unspoken = unspoken or followed.movable is None
            yield from self._samples(process, followed)
            yield from _gpu_samples(followed.identity.labels, gpu_use.get(process.stat.pid, ()))
        self._following.end()
        yield DETAIL_MISSING.sample(denied, "process_io")
        yield DETAIL_MISSING.sample(self._malformed or self._scan.malformed, "process_malformed")
        yield DETAIL_MISSING.sample(self._others_hidden(), "process_other_users")
        yield DETAIL_MISSING.sample(unspoken, "process_wish")
        yield DETAIL_MISSING.sample(self._gpu_pids_are_others and bool(self._gpu_report()), "process_gpu")

    def _learn(self) -> int | None:
        """Forks so far, and what processes are weighed by; as known before where a file fails, which others report."""
        with contextlib.suppress(OSError, ParseError):
            self._memory = max(1, parse_meminfo(read_text(self._procfs.root / "meminfo")).total)
        try:
            times = parse_stat(read_text(self._procfs.root / "stat"))
        except (OSError, ParseError):
            return None
        self._cores, self._boot_time = times.cpus, times.boot_time
        return times.forks

    def _others_hidden(self) -> bool:
        """Whether process 1, which is never one's own, cannot be seen."""
        try:
            return self._procfs.stat(1) is None
        except ParseError:
            return False

    @cached_property
    def _gpu_pids_are_others(self) -> bool:
        """Whether pids here are not the kernel's own, which is what drivers tell, or tell at times."""
        try:
            return (self._procfs.root / "self/ns/pid").stat().st_ino != _FIRST_PID_NAMESPACE
        except OSError:
            return False  # a fixture, or a kernel without pid namespaces

    def _gpu_report(self) -> tuple[Gpu, ...]:
        try:
            report = self._node.gpus.report()
        except NvmlStaleError:
            return ()  # the gpu collector reports it
        return report.gpus if report is not None else ()

    def _gpu_use(self) -> GpuUse:
        use: dict[int, list[tuple[str, int | None, float | None]]] = {}
        for gpu in () if self._gpu_pids_are_others else self._gpu_report():
            for process in gpu.processes:
                use.setdefault(process.pid, []).append((str(gpu.index), process.memory, process.utilisation))
        return use

    def _samples(self, process: ScannedProcess, followed: Followed) -> Iterator[Sample]:
        stat, details, series = process.stat, followed.details, followed.identity.series
        values = (
            (CPU_RATIO, process.cores),
            (CPU_SECONDS, process.cpu_ns / 1e9),
            (RESIDENT, details.resident),
            (SWAP, details.swap),
            (USS, details.uss),
            (IO_READ, details.io and details.io[0]),
            (IO_WRITE, details.io and details.io[1]),
            (THREADS, stat.threads),
            (START, self._boot_time + stat.start_time / self._procfs.ticks_per_second),
        )
        for metric, value in values:
            if value is not None:
                yield Sample(metric, float(value), series[metric])
        if followed.movable is not None:
            yield followed.movable
        yield Sample(INFO, 1.0, series[INFO])

    def _follow(self, process: ScannedProcess) -> Followed | None:
        """None for a process that is gone, or whose files cannot be understood."""
        try:
            return self._following.follow(process)
        except ParseError:
            self._malformed = True
            return None

    def _inside(self, pid: int) -> bool:
        scope = self._node.settings.cgroup_path.rstrip("/")
        if self._node.cgroup is None or not scope:
            return True
        try:
            memberships = self._procfs.cgroups(pid) or ()
        except ParseError:
            self._malformed = True
            return False
        return any(entry.path == scope or entry.path.startswith(scope + "/") for entry in memberships)


def _gpu_samples(
    labels: tuple[str, str, str, str], use: Iterable[tuple[str, int | None, float | None]]
) -> Iterator[Sample]:
    for gpu, memory, utilisation in use:
        if memory is not None:
            yield GPU_MEMORY.sample(memory, *labels, gpu)
        if utilisation is not None:
            yield GPU_UTILISATION.sample(utilisation, *labels, gpu)
