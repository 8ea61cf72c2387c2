"""The processes that make the load: a bounded number of the significant ones. Never argv or environment in a label."""

import contextlib
import os
import pwd
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from exporter.classify import classify, head_of
from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.metrics import Kind, Metric, Sample, label_text
from exporter.movability import ALLOW, NEVER, STOPPED_STATES, WISH, Policy, container_of, hindrance_of, path_of
from exporter.nvml import NvmlStaleError
from exporter.nvml_reader import Gpu
from exporter.procfs.pid import PF_FORKNOEXEC, PidStat
from exporter.procfs.process import ProcessFacts
from exporter.procfs.read import ParseError, read_text
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
THREADS = Metric("grid_process_threads", Kind.GAUGE, "Threads of the process.", "threads", _PROCESS)
MOVABLE = Metric(
    "grid_process_movable",
    Kind.GAUGE,
    "1 where nothing in the process itself keeps a rule from moving it, 0 where something does: reason is its code.",
    "boolean",
    (*_PROCESS, "reason"),
    "sum by (reason) (grid_process_movable == bool 0)",
)
INFO = Metric(
    "grid_process_info",
    Kind.INFO,
    "Always 1: with the start time in clock ticks since boot, which together with the pid identifies the process.",
    "none",
    ("pid", "start", "comm", "user", "class"),
)

_PER_PROCESS = (CPU_RATIO, CPU_SECONDS, RESIDENT, SWAP, USS, IO_READ, IO_WRITE, THREADS, START)
_UNKNOWN_UID = -1
_IDENTITIES_KEPT = 4
_NAMES_KEPT = 1024
_IDENTIFY_EVERY = 64
"""Samples after which a process is looked at as if it were new: a program may execute another of the same name."""

_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""Its inode number (include/linux/proc_ns.h, PROC_PID_INIT_INO)."""

GpuUse = Mapping[int, list[tuple[str, int | None, float | None]]]
"""By pid: index of the GPU, bytes of its memory, share of its time."""


@dataclass(frozen=True, slots=True)
class _Identity:
    """What is read of a process when it becomes significant, and again when it executes something else.

    `facts` are as of then; `forked`: it had executed nothing of its own yet; `told`: its environment and its executable
    could be looked at; `series` are the names of its series, rendered once.
    """

    comm: str
    labels: tuple[str, str, str, str]
    forked: bool
    facts: ProcessFacts
    told: bool
    wish: str | None
    series: dict[Metric, str]


@dataclass(frozen=True, slots=True)
class _Details:
    """What is read while a process works, and remembered while it sleeps. Bytes; None: gone or denied."""

    resident: int
    swap: int | None
    uss: int | None
    io: tuple[int, int] | None
    tracer_pid: int
    uid: int
    denied: bool


class _Condition(NamedTuple):
    """What of a process decides whether it is movable and may change while it runs."""

    uid: int
    stopped: bool
    tracer_pid: int
    pgid: int
    tty_nr: int
    tpgid: int


@dataclass(slots=True)
class _Followed:
    """One exported process."""

    identity: _Identity
    details: _Details
    condition: _Condition
    movable: Sample | None


class ProcessCollector(Collector):
    """The process scan, with identities, movability and GPU use joined on."""

    name = "process"
    metrics = (*_PER_PROCESS, GPU_MEMORY, GPU_UTILISATION, MOVABLE, INFO)

    def __init__(self, node: Node) -> None:
        self._node = node
        self._procfs = node.procfs
        self._scan = ProcessScan(node.procfs, clock=node.clock, counts=self._inside)
        self._followed: dict[tuple[int, int], _Followed] = {}
        self._malformed = False
        self._looks = 0
        self._cores = os.cpu_count() or 1
        self._memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._boot_time = round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))

    def collect(self) -> Iterator[Sample]:
        """Processes outside the cgroup in question are left out."""
        gpu_use = self._gpu_use()
        denied = unspoken = self._malformed = False
        self._looks += 1
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
            yield from _gpu_samples(followed.identity, gpu_use.get(process.stat.pid, ()))
        self._forget(limits.top)
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

    def _samples(self, process: ScannedProcess, followed: _Followed) -> Iterator[Sample]:
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

    def _follow(self, process: ScannedProcess) -> _Followed | None:
        """Reads what may have changed. None for a process that is gone, or whose files cannot be understood."""
        stat = process.stat
        key = stat.pid, stat.start_time
        followed = self._followed.pop(key, None)
        try:
            if followed is None or self._is_another(followed, process):
                followed = self._first_look(process)
            elif process.fresh:
                followed = self._another_look(followed, process)
        except ParseError:
            self._malformed = True
            return None
        if followed is not None:
            self._followed[key] = followed  # at the end: the dictionary's order is the order of last use
        return followed

    def _is_another(self, followed: _Followed, process: ScannedProcess) -> bool:
        """Whether it executes something else by now, or may: that shows by its name, or not at all."""
        identity, stat = followed.identity, process.stat
        executed = identity.forked and not stat.flags & PF_FORKNOEXEC
        return identity.comm != stat.comm or executed or (stat.pid + self._looks) % _IDENTIFY_EVERY == 0

    def _first_look(self, process: ScannedProcess) -> _Followed | None:
        stat = process.stat
        facts = self._procfs.facts(stat.pid)
        if facts is None:
            return None
        user = _user_name(facts.uid)
        labels = str(stat.pid), label_text(stat.comm), user, classify(facts.argv, comm=stat.comm).value
        series = {metric: metric.series(*labels) for metric in _PER_PROCESS}
        series[INFO] = INFO.series(labels[0], str(stat.start_time), *labels[1:])
        environ = self._procfs.environ(stat.pid)
        identity = _Identity(
            comm=stat.comm,
            labels=labels,
            forked=bool(stat.flags & PF_FORKNOEXEC),
            facts=replace(facts, argv=head_of(facts.argv)),
            told=environ is not None and (facts.exe is not None or facts.exe_mode is not None),
            wish=_wish(environ or {}),
            series=series,
        )
        details = self._details(process)
        condition = _condition(stat, details)
        return _Followed(identity, details, condition, self._movable(identity, stat, condition))

    def _another_look(self, followed: _Followed, process: ScannedProcess) -> _Followed | None:
        followed.details = self._details(process)
        condition = _condition(process.stat, followed.details)
        if condition.uid not in (followed.condition.uid, _UNKNOWN_UID):
            return self._first_look(process)
        if condition != followed.condition:
            followed.condition = condition
            followed.movable = self._movable(followed.identity, process.stat, condition)
        return followed

    def _details(self, process: ScannedProcess) -> _Details:
        pid, page = process.stat.pid, self._procfs.page_size
        status, io = self._procfs.status(process.memory), self._procfs.io(pid)
        statm = self._procfs.statm(process.memory)  # after io: who has this and not that is denied that
        return _Details(
            resident=(statm.resident if statm is not None else process.resident) * page,
            swap=status.swap if status is not None else None,
            uss=max(0, statm.resident - statm.shared) * page if statm is not None else None,
            io=(io.read_bytes, io.write_bytes) if io is not None else None,
            tracer_pid=status.tracer_pid if status is not None else 0,
            uid=status.uids[1] if status is not None else _UNKNOWN_UID,
            denied=io is None and statm is not None,
        )

    def _movable(self, identity: _Identity, stat: PidStat, now: _Condition) -> Sample | None:
        """None where nothing is seen that forbids it, but not everything can be seen."""
        facts = replace(
            identity.facts,
            uid=now.uid,
            state=stat.state,
            tracer_pid=now.tracer_pid,
            pgid=now.pgid,
            tty_nr=now.tty_nr,
            tpgid=now.tpgid,
        )
        hindrance = hindrance_of(facts, identity.wish, self._policy)
        if hindrance is None and not identity.told:
            return None
        return MOVABLE.sample(hindrance is None, *identity.labels, hindrance.value if hindrance is not None else "")

    @cached_property
    def _policy(self) -> Policy:
        own = self._procfs.cgroups(os.getpid()) or ()
        return Policy(self._node.settings.process.min_uid, container_of(path_of(own)))

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

    def _forget(self, top: int) -> None:
        while len(self._followed) > _IDENTITIES_KEPT * top:
            del self._followed[next(iter(self._followed))]


def _condition(stat: PidStat, details: _Details) -> _Condition:
    return _Condition(details.uid, stat.state in STOPPED_STATES, details.tracer_pid, stat.pgid, stat.tty_nr, stat.tpgid)


def _gpu_samples(identity: _Identity, use: Iterable[tuple[str, int | None, float | None]]) -> Iterator[Sample]:
    for gpu, memory, utilisation in use:
        if memory is not None:
            yield GPU_MEMORY.sample(memory, *identity.labels, gpu)
        if utilisation is not None:
            yield GPU_UTILISATION.sample(utilisation, *identity.labels, gpu)


def _wish(environ: Mapping[bytes, bytes]) -> str | None:
    """What its owner said at its start. The rest of the environment holds secrets and goes at once."""
    wish = environ.get(WISH, b"").decode("ascii", "replace")
    return wish if wish in (ALLOW, NEVER) else None


_names: dict[int, str] = {}
"""Users' names by uid; a directory service may take its time."""


def _user_name(uid: int) -> str:
    """The name as a label; the number where there is none now, which is not remembered: the service may be away."""
    if uid in _names:
        return _names[uid]
    try:
        name = label_text(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)
    if len(_names) >= _NAMES_KEPT:
        _names.clear()
    _names[uid] = name
    return name
