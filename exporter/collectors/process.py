"""The processes that make the load: a bounded number of the significant ones. Never argv or environment in a label."""

import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from exporter.classify import classify
from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.metrics import Kind, Metric, Sample, label_text
from exporter.nvml import NvmlStaleError
from exporter.procfs.clock import gate_for
from exporter.procfs.read import read_text
from exporter.procfs.scan import ProcessScan, ScannedProcess, Significance
from exporter.procfs.system import parse_meminfo, parse_stat

_PROCESS = ("pid", "comm", "user", "class")

CPU_RATIO = Metric(
    "grid_process_cpu_ratio",
    Kind.GAUGE,
    "Cores the process used since the previous sample (2.0 is two cores busy).",
    "cores",
    _PROCESS,
    "topk(5, grid_process_cpu_ratio)",
)
CPU_SECONDS = Metric(
    "grid_process_cpu_seconds_total",
    Kind.COUNTER,
    "CPU time of all threads of the process, ended ones included.",
    "seconds",
    _PROCESS,
    "sum by (user) (rate(grid_process_cpu_seconds_total[1m]))",
)
RESIDENT = Metric(
    "grid_process_resident_bytes",
    Kind.GAUGE,
    "Memory of the process that is in RAM, shared pages included.",
    "bytes",
    _PROCESS,
    "topk(5, grid_process_resident_bytes)",
)
SWAP = Metric("grid_process_swap_bytes", Kind.GAUGE, "Memory of the process that is swapped out.", "bytes", _PROCESS)
USS = Metric(
    "grid_process_uss_bytes",
    Kind.GAUGE,
    "Memory that ending the process would free: an estimate, resident without file-backed and shared pages.",
    "bytes",
    _PROCESS,
    "sum by (class) (grid_process_uss_bytes)",
)
IO_READ = Metric(
    "grid_process_io_read_bytes_total",
    Kind.COUNTER,
    "Bytes the process made storage read; absent where it may not be seen.",
    "bytes",
    _PROCESS,
    "topk(5, rate(grid_process_io_read_bytes_total[1m]))",
)
IO_WRITE = Metric(
    "grid_process_io_write_bytes_total",
    Kind.COUNTER,
    "Bytes the process made storage write; absent where it may not be seen.",
    "bytes",
    _PROCESS,
)
GPU_MEMORY = Metric(
    "grid_process_gpu_memory_bytes",
    Kind.GAUGE,
    "GPU memory of the process.",
    "bytes",
    (*_PROCESS, "gpu"),
    "sum by (user) (grid_process_gpu_memory_bytes)",
)
GPU_UTILISATION = Metric(
    "grid_process_gpu_utilisation_ratio",
    Kind.GAUGE,
    "Share of the GPU's time the process used (absent under MIG).",
    "ratio 0-1",
    (*_PROCESS, "gpu"),
)
START = Metric(
    "grid_process_start_time_seconds",
    Kind.GAUGE,
    "When the process started.",
    "seconds since the epoch",
    _PROCESS,
    "time() - grid_process_start_time_seconds",
)
INFO = Metric(
    "grid_process_info",
    Kind.INFO,
    "Always 1: with the start time in clock ticks since boot, which together with the pid identifies the process.",
    "none",
    ("pid", "start", "comm", "user", "class"),
)

_IDENTITIES_KEPT = 4


@dataclass(frozen=True, slots=True)
class _Identity:
    """What is read once per process, when it becomes significant, and again when it executes something else."""

    comm: str
    labels: tuple[str, str, str, str]
    inside: bool


class ProcessCollector(Collector):
    """The process scan, with identities and GPU use joined on."""

    name = "process"
    metrics = (
        CPU_RATIO, CPU_SECONDS, RESIDENT, SWAP, USS, IO_READ, IO_WRITE, GPU_MEMORY, GPU_UTILISATION, START, INFO,
    )  # fmt: skip

    def __init__(self, node: Node) -> None:
        self._node = node
        self._procfs = node.procfs
        self._scan = ProcessScan(node.procfs, gate_for(node.procfs.root), node.clock)
        self._identities: dict[tuple[int, int], _Identity] = {}

    def collect(self) -> Iterator[Sample]:
        """Processes outside the cgroup in question are left out."""
        gpu_use = self._gpu_use()
        significance, boot_time = self._significance()
        io_missing = False
        for process in self._scan.sample(significance, gpu_use):
            identity = self._identity(process)
            if identity is None or not identity.inside:
                continue
            samples, io_seen = self._samples(process, identity, boot_time)
            io_missing = io_missing or not io_seen
            yield from samples
            for gpu, memory, utilisation in gpu_use.get(process.stat.pid, ()):
                if memory is not None:
                    yield GPU_MEMORY.sample(memory, *identity.labels, gpu)
                if utilisation is not None:
                    yield GPU_UTILISATION.sample(utilisation, *identity.labels, gpu)
        self._forget(significance.top)
        yield DETAIL_MISSING.sample(io_missing, "process_io")
        yield DETAIL_MISSING.sample(self._procfs.stat(1) is None, "process_other_users")

    def _significance(self) -> tuple[Significance, int]:
        limits = self._node.settings.process
        times = parse_stat(read_text(self._procfs.root / "stat"))
        memory = parse_meminfo(read_text(self._procfs.root / "meminfo"))
        found = Significance(limits.top, limits.min_rss, limits.min_cpu, times.cpus, max(1, memory.total))
        return found, times.boot_time

    def _gpu_use(self) -> dict[int, list[tuple[str, int | None, float | None]]]:
        try:
            report = self._node.gpus.report()
        except NvmlStaleError:
            return {}  # the gpu collector reports it
        use: dict[int, list[tuple[str, int | None, float | None]]] = {}
        for gpu in report.gpus if report is not None else ():
            for process in gpu.processes:
                use.setdefault(process.pid, []).append((str(gpu.index), process.memory, process.utilisation))
        return use

    def _samples(self, process: ScannedProcess, identity: _Identity, boot_time: int) -> tuple[list[Sample], bool]:
        stat, labels = process.stat, identity.labels
        page, hertz = self._procfs.page_size, self._procfs.ticks_per_second
        samples = [
            CPU_SECONDS.sample(stat.ticks / hertz, *labels),
            RESIDENT.sample(stat.rss * page, *labels),
            START.sample(boot_time + stat.start_time / hertz, *labels),
            INFO.sample(1, labels[0], str(stat.start_time), *labels[1:]),
        ]
        if process.cores is not None:
            samples.append(CPU_RATIO.sample(process.cores, *labels))
        if (status := self._procfs.status(stat.pid)) is not None:
            samples.append(SWAP.sample(status.swap, *labels))
        if (io := self._procfs.io(stat.pid)) is not None:
            samples.append(IO_READ.sample(io.read_bytes, *labels))
            samples.append(IO_WRITE.sample(io.write_bytes, *labels))
        if (statm := self._procfs.statm(stat.pid)) is not None:  # after io: who has this and not that is denied that
            samples.append(USS.sample(max(0, statm.resident - statm.shared) * page, *labels))
        return samples, io is not None or statm is None

    def _identity(self, process: ScannedProcess) -> _Identity | None:
        stat = process.stat
        key = stat.pid, stat.start_time
        identity = self._identities.pop(key, None)
        if identity is None or identity.comm != stat.comm:
            identity = self._identify(process)
        if identity is not None:
            self._identities[key] = identity  # at the end: the dictionary's order is the order of last use
        return identity

    def _identify(self, process: ScannedProcess) -> _Identity | None:
        stat = process.stat
        status, argv = self._procfs.status(stat.pid), self._procfs.argv(stat.pid)
        if status is None or argv is None:
            return None
        kind = classify(argv, comm=stat.comm)
        labels = str(stat.pid), label_text(stat.comm), _user_name(status.uids[1]), kind.value
        return _Identity(stat.comm, labels, self._inside(stat.pid))

    def _inside(self, pid: int) -> bool:
        scope = self._node.settings.cgroup_path.rstrip("/")
        if self._node.cgroup is None or not scope:
            return True
        memberships = self._procfs.cgroups(pid) or ()
        return any(entry.path == scope or entry.path.startswith(scope + "/") for entry in memberships)

    def _forget(self, top: int) -> None:
        while len(self._identities) > _IDENTITIES_KEPT * top:
            del self._identities[next(iter(self._identities))]


@lru_cache(maxsize=1024)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
