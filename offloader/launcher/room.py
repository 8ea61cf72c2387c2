"""Is there room on this node: memory for the job, disk for what it writes (proc_meminfo(5), statvfs(3))."""

from __future__ import annotations

import os

from . import proc

__all__ = ["free_bytes", "short_of_disk", "short_of_memory", "size_shown"]

_LEAST_DISK = 64 << 20
"""Bytes free without which an output would soon end: the job's own log, a few results."""


def short_of_memory(needed: int) -> str | None:
    """A sentence when the kernel could not give so many bytes without swapping."""
    for line in proc.read_bytes("/proc/meminfo").splitlines():
        if line.startswith(b"MemAvailable:"):
            free = int(line.split()[1]) << 10
            return f"{size_shown(free)} of memory are free, needed: {size_shown(needed)}" if free < needed else None
    return None


def short_of_disk(directory: bytes) -> str | None:
    """A sentence when next to nothing more can be written there by an ordinary account."""
    free = free_bytes(directory)
    if free is None or free >= _LEAST_DISK:
        return None
    return f"{size_shown(free)} are free in {directory.decode('utf-8', 'replace')}"


def free_bytes(directory: bytes) -> int | None:
    """For ordinary accounts; None: nobody can tell, as with some network file systems."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def size_shown(size: int) -> str:
    """For people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"  # noqa: PLR2004 (SI prefixes)
