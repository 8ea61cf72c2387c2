"""One control group per node, in every hierarchy that matters: cgroup v1, v2, and hosts that mount both.

Sources: cgroups(7), the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

import errno
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from _testbed.shell import kill, start_time, wait_until

V1_CONTROLLERS = frozenset({"cpu", "cpuacct", "memory", "freezer", "pids"})
V2_CONTROLLERS = ("cpu", "memory", "pids")
PERIOD_US = 100_000


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup file system; `options` are what a node must mount it with (empty for v2)."""

    mount: Path
    options: str

    @property
    def unified(self) -> bool:
        """Whether it is cgroup v2."""
        return not self.options


def parse(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The hierarchies in a /proc/PID/mountinfo (proc(5)), each once, those without a controller we use left out."""
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mount, (fstype, _, options) = before.split()[4], after.split(maxsplit=2)
        controllers = [option for option in options.split(",") if option in V1_CONTROLLERS]
        if fstype == "cgroup" and controllers:
            found.setdefault(",".join(controllers), Hierarchy(Path(mount), ",".join(controllers)))
        elif fstype == "cgroup2":
            found.setdefault("", Hierarchy(Path(mount), ""))
    return tuple(found.values())


@cache
def hierarchies(*, unified_only: bool = False) -> tuple[Hierarchy, ...]:
    """The hierarchies of this machine, or its cgroup v2 alone."""
    found = parse(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    return tuple(each for each in found if each.unified or not unified_only)


@dataclass(frozen=True)
class Group:
    """The control group `path` (such as `gt/gpu1`) in several hierarchies."""

    path: str
    hierarchies: tuple[Hierarchy, ...]

    def directories(self) -> list[Path]:
        """Where it is or would be."""
        return [hierarchy.mount / self.path for hierarchy in self.hierarchies]

    def create(self) -> None:
        """Make it, with the controllers that v2 hands down only on request."""
        for hierarchy in self.hierarchies:
            directory = hierarchy.mount / self.path
            directory.mkdir(parents=True, exist_ok=True)
            if hierarchy.unified:
                _hand_down(hierarchy.mount, directory)

    def limit(self, cpu: float | None, memory: int | None) -> None:
        """Set the cores and bytes its members may use together; None lifts the limit."""
        quota = int(cpu * PERIOD_US) if cpu else None
        for directory in self.directories():
            _set(directory / "cpu.cfs_period_us", PERIOD_US)
            _set(directory / "cpu.cfs_quota_us", -1 if quota is None else quota)
            _set(directory / "cpu.max", f"{'max' if quota is None else quota} {PERIOD_US}")
            _set(directory / "memory.limit_in_bytes", -1 if memory is None else memory)
            _set(directory / "memory.max", "max" if memory is None else memory)

    def join(self) -> None:
        """Move the calling process into it."""
        for directory in self.directories():
            (directory / "cgroup.procs").write_text("0", encoding="ascii")

    def pids(self) -> set[int]:
        """Live members, those of child groups included (zombies are not)."""
        return {pid for directory in self.directories() for pid in _members(directory) if start_time(pid) is not None}

    def kill(self, seconds: float = 15) -> None:
        """End every member, frozen ones too, and wait until none is left."""

        def emptied() -> bool:
            for pid in (pids := self.pids()):
                kill(pid, signal.SIGKILL)
            if pids:
                self.thaw()
            return not pids

        wait_until(emptied, seconds, f"the processes of {self.path} to end")

    def thaw(self) -> None:
        """Let frozen members run again: a process that is killed while frozen in v1 dies only then."""
        for directory in self.directories():
            for child in (directory, *directory.rglob("*/")):
                _set(child / "freezer.state", "THAWED")
                _set(child / "cgroup.freeze", 0)

    def remove(self, seconds: float = 10) -> None:
        """Remove it and its children from every hierarchy; the kernel answers EBUSY until its last member is reaped."""
        for directory in self.directories():
            wait_until(partial(_removed, directory), seconds, f"the kernel to let go of {directory}")


def _hand_down(mount: Path, directory: Path) -> None:
    available = (mount / "cgroup.controllers").read_text(encoding="ascii").split()
    parent = directory.parent
    for level in (mount, parent) if parent != mount else (mount,):
        for controller in V2_CONTROLLERS:
            if controller in available:
                (level / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")


def _set(file: Path, value: object) -> None:
    """Write a control file where this hierarchy has it."""
    with suppress(FileNotFoundError), file.open("r+", encoding="ascii") as opened:
        opened.write(str(value))


def _members(directory: Path) -> Iterator[int]:
    for procs in (directory / "cgroup.procs", *directory.rglob("cgroup.procs")):
        with suppress(FileNotFoundError, OSError):
            yield from map(int, procs.read_text(encoding="ascii").split())


def _removed(directory: Path) -> bool:
    try:
        for child in sorted(directory.rglob("*/"), reverse=True):
            child.rmdir()
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
