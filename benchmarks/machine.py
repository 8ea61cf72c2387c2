"""On what a benchmark ran: figures of different machines are not to be compared, and this tells them apart."""

import os
import platform
import subprocess
from pathlib import Path
from typing import TypedDict

PROJECT = Path(__file__).resolve().parent.parent


class Machine(TypedDict):
    """The machine and what runs on it. `load_average` is that of the last minute, before the benchmark began."""

    cpu: str
    cores: int
    memory_bytes: int
    architecture: str
    kernel: str
    system: str
    python: str
    load_average: float
    commit: str | None


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_value("/proc/cpuinfo", "model name", ":") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        architecture=platform.machine(),
        kernel=platform.release(),
        system=_value("/etc/os-release", "PRETTY_NAME", "=").strip('"') or platform.system(),
        python=platform.python_version(),
        load_average=os.getloadavg()[0],
        commit=_commit(),
    )


def _value(path: str, key: str, separator: str) -> str:
    """The first `key` of a file of keys and values; empty when there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(separator) for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")


def _commit() -> str | None:
    """The commit measured, with `-dirty` for changes on top of it; None outside a checkout."""
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
