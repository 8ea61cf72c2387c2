"""Where the kernel's file systems are: passed in everywhere, so that every reader runs on a fixture tree too."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Roots:
    """Mount points of procfs, sysfs and the cgroup hierarchies (v1: the folder above the controllers)."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    cgroup: Path = Path("/sys/fs/cgroup")
