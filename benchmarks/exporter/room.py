"""Whether a load fits this machine: asked before it is started, because half a load measures nothing."""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.exporter.load import BUSY, FORKS_PER_SECOND, SIGNIFICANT_BYTES, Load
from exporter.procfs.cgroup import open_cgroup
from exporter.roots import Roots

_PROCESS_BYTES = 200 << 10  # of a sleeping process: its pages, page tables, kernel stack and structures
_THREAD_BYTES = 40 << 10
_SPARE_BYTES = 512 << 20  # the exporters, and whatever else lives here
_SPARE_TASKS = 300
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Room:
    """What this machine has left: tasks (processes and threads), and bytes. None: unlimited."""

    tasks: int
    pid_max: int
    threads_max: int
    cgroup_tasks: int | None
    user_tasks: int | None
    memory: int


def obstacles(load: Load, room: Room) -> list[str]:
    """Why the load cannot be run, each with what mends it; empty when it can."""
    tasks = needed_tasks(load)
    total = room.tasks + tasks
    found = []
    if total > room.pid_max:
        found.append(f"{total} tasks, and kernel.pid_max is {room.pid_max}: sysctl -w kernel.pid_max={_power(total)}")
    if total > room.threads_max:
        found.append(
            f"{total} tasks, and kernel.threads-max is {room.threads_max}: sysctl -w kernel.threads-max={_power(total)}"
        )
    if room.cgroup_tasks is not None and tasks > room.cgroup_tasks:
        found.append(
            f"{tasks} tasks, and this control group has {room.cgroup_tasks} left (pids.max): run it in another"
        )
    if room.user_tasks is not None and tasks > room.user_tasks:
        found.append(f"{tasks} tasks, and a user may have {room.user_tasks} (ulimit -u): raise it or run it as root")
    if (memory := needed_memory(load)) > room.memory:
        found.append(f"{memory / _GIB:.1f} GiB of memory, and {room.memory / _GIB:.1f} GiB are free")
    return [f"needs {text}" for text in found]


def needed_tasks(load: Load) -> int:
    """Processes and threads that it takes, with some to spare."""
    return (load.processes + BUSY) * load.threads + (FORKS_PER_SECOND if load.forks else 0) + _SPARE_TASKS


def needed_memory(load: Load) -> int:
    """Bytes that it takes, the exporters included."""
    each = _PROCESS_BYTES + (load.threads - 1) * _THREAD_BYTES
    return load.processes * each + load.significant * SIGNIFICANT_BYTES + _SPARE_BYTES


def look() -> Room:
    """This machine, now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    limited = os.geteuid() != 0 and soft != resource.RLIM_INFINITY  # root is exempt, man 2 getrlimit
    return Room(
        tasks=int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[2]),
        pid_max=_number(Path("/proc/sys/kernel/pid_max")),
        threads_max=_number(Path("/proc/sys/kernel/threads-max")),
        cgroup_tasks=min(_cgroup_tasks(), default=None),
        user_tasks=soft if limited else None,
        memory=min([_free_memory(), *_cgroup_memory()]),
    )


def _power(least: int) -> int:
    return int(1 << (least - 1).bit_length())


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def _free_memory() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def _cgroup_tasks() -> Iterator[int]:
    """What pids.max leaves, of this control group and of those above it."""
    root = Roots().cgroup
    top = root if (root / "cgroup.controllers").exists() else root / "pids"
    folder = top / _own_cgroup("pids")
    for level in (folder, *folder.parents):
        try:
            limit = (level / "pids.max").read_text(encoding="ascii").strip()
            if limit != "max":
                yield int(limit) - _number(level / "pids.current")
        except FileNotFoundError:
            pass  # the root of a hierarchy has no limit
        if level == top:
            return


def _cgroup_memory() -> Iterator[int]:
    """What the memory limit leaves, if there is one."""
    try:
        memory = open_cgroup(Roots().cgroup, _own_cgroup("memory")).memory()
    except FileNotFoundError:
        return
    if memory is not None and memory.limit is not None:
        yield memory.limit - memory.working_set


def _own_cgroup(controller: str) -> str:
    """The path of this process's control group, below the mount (man 7 cgroups: /proc/PID/cgroup)."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    groups = {name: path for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
    return groups.get(controller, groups.get("", "/")).strip("/")
