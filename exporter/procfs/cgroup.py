"""Reading one cgroup as if it were a node: CPU, memory, limits, I/O, pressure (kernel: cgroup-v1/, cgroup-v2.rst).

Version 2 has one hierarchy, version 1 one per controller; both answer the same questions here. A limit set above the
cgroup binds as well: ancestors visible below the mount are asked too. None means that the kernel offers no such
figure there (the root of a v2 hierarchy, a controller that is not enabled), which is no failure; a cgroup that is
gone is one (FileNotFoundError).
"""

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from exporter.procfs.cgroup_io import CgroupIo, parse_blkio, parse_io_stat
from exporter.procfs.read import ParseError, natural, read_optional
from exporter.procfs.system import Pressure, parse_pressure

N = TypeVar("N", int, float)

_UNLIMITED_V1 = 1 << 62
"""v1 shows "no limit" as the largest page-aligned integer; nothing real comes near half of it."""

_NO_QUOTA_V1 = "-1"

_CPU_FOLDERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
_CPUACCT_FOLDERS = ("cpuacct", "cpu,cpuacct", "cpuacct,cpu")


@dataclass(frozen=True, slots=True)
class CgroupCpu:
    """CPU seconds since the cgroup was made, and how many cores it may use (None: no limit of its own)."""

    used: float
    user: float
    system: float
    quota_cores: float | None
    cpuset_cores: int | None

    def cores(self, host_cpus: int) -> float:
        """Cores this cgroup can use on a host with that many."""
        known = (self.quota_cores, self.cpuset_cores, host_cpus)
        return float(min(cores for cores in known if cores is not None))


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """Bytes. `working_set` is what cannot be dropped at once: usage without inactive file pages.

    `limit` is the tightest of its own and of those above. `room` is what can be added before the first of them binds,
    which may be one that siblings have filled. `limit`, `room` and `swap_limit` are None when unlimited; the swap
    figures also where swap is not accounted.
    """

    working_set: int
    limit: int | None
    room: int | None
    swap_used: int | None
    swap_limit: int | None


class Cgroup(Protocol):
    """What both versions answer."""

    def cpu(self) -> CgroupCpu | None:
        """CPU use and limits."""

    def memory(self) -> CgroupMemory | None:
        """Memory use and limits."""

    def io(self) -> dict[str, CgroupIo] | None:
        """Disk I/O by device number, as `8:0`; stacked and virtual devices are listed beside those below them."""

    def pressure(self, resource: str) -> Pressure | None:
        """PSI of cpu, memory or io."""


def open_cgroup(root: Path, path: str) -> Cgroup:
    """The cgroup `path` below the mount point(s) at `root`. Raises FileNotFoundError when neither version has it."""
    relative = path.strip("/")
    if (root / "cgroup.controllers").exists():
        folder = root / relative
        if folder.is_dir():
            return CgroupV2(root, folder)
    elif _first_folder(root, _CPUACCT_FOLDERS, relative) is not None:
        return CgroupV1(root, relative)
    raise FileNotFoundError(f"no cgroup {path} below {root}")


@dataclass(frozen=True, slots=True)
class CgroupV2:
    """The unified hierarchy."""

    root: Path
    folder: Path

    def cpu(self) -> CgroupCpu | None:
        """cpu.stat, cpu.max, cpuset.cpus.effective."""
        text = self._read("cpu.stat")
        if text is None:
            return None
        stat = _flat(text, "cpu.stat")
        quotas = [_quota_v2(text) for text in _lineage(self.root, self.folder, "cpu.max")]
        return CgroupCpu(
            used=_field(stat, "usage_usec") / 1e6,
            user=_field(stat, "user_usec") / 1e6,
            system=_field(stat, "system_usec") / 1e6,
            quota_cores=_least(quotas),
            cpuset_cores=_cpu_count(read_optional(self.folder / "cpuset.cpus.effective")),
        )

    def memory(self) -> CgroupMemory | None:
        """memory.current, memory.stat, memory.max and memory.high (above which work is slowed down), memory.swap.*."""
        if self._read("memory.current") is None:
            return None
        working_set = _working_set(self.folder, "memory.current", "inactive_file")
        if working_set is None:
            return None
        levels = [
            (limit, _working_set(level, "memory.current", "inactive_file"))
            for level in _levels(self.root, self.folder)
            if (limit := _limit_v2(level)) is not None
        ]
        swap_limits = [_number(text) for text in _lineage(self.root, self.folder, "memory.swap.max")]
        return CgroupMemory(
            working_set=working_set,
            limit=_least(limit for limit, _ in levels),
            room=_least(max(0, limit - used) for limit, used in levels if used is not None),
            swap_used=_number(read_optional(self.folder / "memory.swap.current")),
            swap_limit=_least(swap_limits),
        )

    def io(self) -> dict[str, CgroupIo] | None:
        """io.stat."""
        text = self._read("io.stat")
        return None if text is None else parse_io_stat(text)

    def pressure(self, resource: str) -> Pressure | None:
        """RESOURCE.pressure; None where the kernel runs without PSI."""
        text = self._read(f"{resource}.pressure")
        return parse_pressure(text) if text else None

    def _read(self, name: str) -> str | None:
        text = read_optional(self.folder / name)
        if text is None and not self.folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the cgroup is gone", str(self.folder))
        return text


@dataclass(frozen=True, slots=True)
class CgroupV1:
    """One folder per controller below `root`; `relative` is the same path in all of them."""

    root: Path
    relative: str

    def cpu(self) -> CgroupCpu | None:
        """cpuacct.usage (ns), cpuacct.stat (ticks), cpu.cfs_quota_us, cpuset.effective_cpus."""
        accounting = self._accounting()
        used = _number(read_optional(accounting / "cpuacct.usage"))
        if used is None:
            return None
        ticks = _flat(read_optional(accounting / "cpuacct.stat") or "", "cpuacct.stat")
        hertz = os.sysconf("SC_CLK_TCK")
        return CgroupCpu(
            used=used / 1e9,
            user=ticks.get("user", 0) / hertz,
            system=ticks.get("system", 0) / hertz,
            quota_cores=self._quota(),
            cpuset_cores=_cpu_count(read_optional(self.root / "cpuset" / self.relative / "cpuset.effective_cpus")),
        )

    def memory(self) -> CgroupMemory | None:
        """memory.usage_in_bytes, memory.stat (the `total_` figures include children), memory.memsw.*."""
        top = self.root / "memory"
        folder = top / self.relative
        self._accounting()
        working_set = _working_set(folder, "memory.usage_in_bytes", "total_inactive_file")
        if working_set is None:
            return None
        stat = _flat(read_optional(folder / "memory.stat") or "", "memory.stat")
        own = _number(read_optional(folder / "memory.limit_in_bytes"))
        limit = _finite(_least([stat.get("hierarchical_memory_limit"), own]))
        both_limit = _finite(stat.get("hierarchical_memsw_limit"))
        levels = [
            (bound, _working_set(level, "memory.usage_in_bytes", "total_inactive_file"))
            for level in _levels(top, folder)
            if (bound := _number(read_optional(level / "memory.limit_in_bytes"))) is not None
            and limit is not None
            and limit <= bound < _UNLIMITED_V1  # a tighter one above does not bind: memory.use_hierarchy is 0 there
        ]
        return CgroupMemory(
            working_set=working_set,
            limit=limit,
            room=_least(max(0, bound - used) for bound, used in levels if used is not None),
            swap_used=stat.get("total_swap"),
            swap_limit=both_limit - limit if both_limit is not None and limit is not None else None,
        )

    def io(self) -> dict[str, CgroupIo] | None:
        """blkio.throttle.*: what was written through the page cache is not charged to the cgroup in v1."""
        self._accounting()
        folder = self.root / "blkio" / self.relative
        texts = [_recursive(folder, f"blkio.throttle.{name}") for name in ("io_serviced", "io_service_bytes")]
        if texts[0] is None or texts[1] is None:
            return None
        return parse_blkio(texts[0], texts[1])

    def pressure(self, resource: str) -> Pressure | None:
        """v1 has no PSI; a hybrid set-up mounts a v2 hierarchy beside it, whose files are used when there."""
        self._accounting()
        text = read_optional(self.root / "unified" / self.relative / f"{resource}.pressure")
        return parse_pressure(text) if text else None

    def _accounting(self) -> Path:
        """The folder that every cgroup has as long as it is there."""
        folder = _first_folder(self.root, _CPUACCT_FOLDERS, self.relative)
        if folder is None:
            raise FileNotFoundError(errno.ENOENT, "the cgroup is gone", self.relative)
        return folder

    def _quota(self) -> float | None:
        folder = _first_folder(self.root, _CPU_FOLDERS, self.relative)
        if folder is None:
            return None
        top = folder
        for _ in Path(self.relative).parts:
            top = top.parent
        quotas = [
            _quota_v1(quota, read_optional(level / "cpu.cfs_period_us"))
            for level in _levels(top, folder)
            if (quota := read_optional(level / "cpu.cfs_quota_us"))
        ]
        return _least(quotas)


def _recursive(folder: Path, name: str) -> str | None:
    """With the cgroups below it; old kernels tell only of the cgroup itself."""
    text = read_optional(folder / f"{name}_recursive")
    return read_optional(folder / name) if text is None else text


def _working_set(folder: Path, usage_file: str, inactive_key: str) -> int | None:
    usage, text = _number(read_optional(folder / usage_file)), read_optional(folder / "memory.stat")
    if usage is None or text is None:
        return None
    return max(0, usage - _flat(text, "memory.stat").get(inactive_key, 0))


def _limit_v2(level: Path) -> int | None:
    return _least(_number(read_optional(level / name)) for name in ("memory.max", "memory.high"))


def _first_folder(root: Path, names: tuple[str, ...], relative: str) -> Path | None:
    return next((folder for name in names if (folder := root / name / relative).is_dir()), None)


def _levels(top: Path, folder: Path) -> Iterator[Path]:
    yield folder
    while folder != top:
        folder = folder.parent
        yield folder


def _lineage(top: Path, folder: Path, name: str) -> Iterator[str]:
    texts = (read_optional(level / name) for level in _levels(top, folder))
    return (text for text in texts if text)


def _flat(text: str, name: str) -> dict[str, int]:
    try:
        pairs = (line.split() for line in text.splitlines())
        return {key: natural(value) for key, value in pairs}
    except ValueError as error:
        raise ParseError(f"{name}: {error}") from error


def _field(stat: dict[str, int], name: str) -> int:
    try:
        return stat[name]
    except KeyError as error:
        raise ParseError(f"cpu.stat: no {name}") from error


def _number(text: str | None) -> int | None:
    if text is None or text.strip() == "max":
        return None
    try:
        return natural(text.strip())
    except ValueError as error:
        raise ParseError(f"cgroup file: {error}") from error


def _quota_v2(text: str) -> float | None:
    try:
        quota, period = text.split()
        return None if quota == "max" else _cores(natural(quota), natural(period))
    except ValueError as error:
        raise ParseError(f"cpu.max: {text[:40]!r}") from error


def _quota_v1(quota: str, period: str | None) -> float | None:
    if quota.strip() == _NO_QUOTA_V1 or period is None:
        return None
    try:
        return _cores(natural(quota.strip()), natural(period.strip()))
    except ValueError as error:
        raise ParseError(f"cpu.cfs_quota_us: {quota[:40]!r} of {period[:40]!r}") from error


def _cores(quota: int, period: int) -> float:
    if not quota or not period:
        raise ValueError("zero")  # the kernel takes no less than a millisecond
    return quota / period


def _finite(limit: int | None) -> int | None:
    return None if limit is None or limit >= _UNLIMITED_V1 else limit


def _least(values: Iterable[N | None]) -> N | None:
    return min((value for value in values if value is not None), default=None)


def _cpu_count(text: str | None) -> int | None:
    """CPUs in a list such as `0-3,8`; None when empty."""
    if not text or not text.strip():
        return None
    try:
        return sum(map(_span, text.strip().split(",")))
    except ValueError as error:
        raise ParseError(f"cpuset: {text[:40]!r}") from error


def _span(part: str) -> int:
    numbers = [natural(word) for word in part.split("-")]
    if numbers[-1] < numbers[0]:
        raise ValueError("backwards")
    return numbers[-1] - numbers[0] + 1
