"""Node-wide files: stat, meminfo, loadavg, diskstats and pressure of /proc. Pure.

Sources: man 5 proc; the kernel's admin-guide/iostats.rst, block/stat.rst and accounting/psi.rst.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from exporter.procfs.read import ParseError, natural

CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The columns of a cpu line, in order; guest and guest_nice follow and are already part of user and nice."""

_IDLE_MODES = frozenset({"idle", "iowait"})
_FEWEST_MODES = 4

_MEMINFO = frozenset({"MemTotal", "MemAvailable", "MemFree", "Buffers", "Cached", "SwapTotal", "SwapFree"})

_SECTOR_BYTES = 512
"""In /proc/diskstats, whatever the device's own block size is."""


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Ticks per mode summed over the CPUs, number of online CPUs, boot time (seconds since the epoch), forks."""

    ticks: dict[str, int]
    cpus: int
    boot_time: int
    forks: int

    @property
    def total(self) -> int:
        """Ticks of all modes."""
        return sum(self.ticks.values())

    @property
    def busy(self) -> int:
        """Ticks that were not available to anybody else: everything but idle and waiting for I/O."""
        return sum(ticks for mode, ticks in self.ticks.items() if mode not in _IDLE_MODES)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    total: int
    available: int
    swap_total: int
    swap_free: int


@dataclass(frozen=True, slots=True)
class Load:
    """Load averages over 1, 5 and 15 minutes."""

    load1: float
    load5: float
    load15: float


@dataclass(frozen=True, slots=True)
class Pressure:
    """Seconds since boot in which some, or all, runnable tasks stalled; `full` is None where not reported."""

    some: float
    full: float | None


class DiskIo(NamedTuple):
    """What a block device did since it appeared: requests, bytes, and milliseconds in which it was busy at all."""

    reads: int
    read_bytes: int
    writes: int
    written_bytes: int
    busy_ms: int


def parse_stat(text: str) -> CpuTimes:
    """/proc/stat."""
    ticks: dict[str, int] = {}
    cpus = boot_time = forks = 0
    try:
        for line in text.splitlines():
            key, _, rest = line.partition(" ")
            if key == "cpu":
                ticks = dict(zip(CPU_MODES, map(natural, rest.split()), strict=False))
            elif key.startswith("cpu"):
                cpus += 1
            elif key == "btime":
                boot_time = natural(rest)
            elif key == "processes":
                forks = natural(rest)
    except ValueError as error:
        raise ParseError(f"/proc/stat: {error}") from error
    if len(ticks) < _FEWEST_MODES or not cpus:
        raise ParseError("/proc/stat: no cpu line")
    return CpuTimes(ticks, cpus, boot_time, forks)


def parse_meminfo(text: str) -> Memory:
    """/proc/meminfo; before Linux 3.14 there is no MemAvailable: free + buffers + cached stands in."""
    kib: dict[str, int] = {}
    try:
        for line in text.splitlines():
            key, _, rest = line.partition(":")
            if key in _MEMINFO:
                kib[key] = natural(rest.split()[0])
        available = kib.get("MemAvailable")
        if available is None:
            available = kib["MemFree"] + kib["Buffers"] + kib["Cached"]
        total = kib["MemTotal"]
    except (ValueError, IndexError, KeyError) as error:
        raise ParseError(f"/proc/meminfo: {error!r}") from error
    return Memory(total << 10, available << 10, kib.get("SwapTotal", 0) << 10, kib.get("SwapFree", 0) << 10)


def parse_loadavg(text: str) -> Load:
    """/proc/loadavg."""
    try:
        one, five, fifteen = map(float, text.split()[:3])
    except ValueError as error:
        raise ParseError(f"/proc/loadavg: {error}") from error
    if not all(math.isfinite(load) and load >= 0 for load in (one, five, fifteen)):
        raise ParseError(f"/proc/loadavg: {text[:80]!r}")
    return Load(one, five, fifteen)


def parse_pressure(text: str) -> Pressure:
    """/proc/pressure/RESOURCE and a v2 cgroup's RESOURCE.pressure; `total=` is in microseconds."""
    totals: dict[str, float] = {}
    try:
        for line in text.splitlines():
            kind, *fields = line.split()
            values = dict(field.split("=", 1) for field in fields)
            totals[kind] = natural(values["total"]) / 1e6
        return Pressure(totals["some"], totals.get("full"))
    except (ValueError, KeyError) as error:
        raise ParseError(f"pressure file: {error!r}") from error


def parse_diskstats(text: str) -> dict[str, DiskIo]:
    """/proc/diskstats: by device number, as `8:0`; partitions, stacked and virtual devices are listed too."""
    try:
        rows = (line.split() for line in text.splitlines() if line.strip())
        return {f"{natural(row[0])}:{natural(row[1])}": _disk(row) for row in rows}
    except (ValueError, IndexError) as error:
        raise ParseError(f"/proc/diskstats: {error}") from error


def _disk(row: list[str]) -> DiskIo:
    reads, sectors_read, writes, sectors_written, busy = (natural(row[at]) for at in (3, 5, 7, 9, 12))
    return DiskIo(reads, sectors_read * _SECTOR_BYTES, writes, sectors_written * _SECTOR_BYTES, busy)
