"""Is there room on this node: memory for the job, disk for what it writes (proc_meminfo(5), statvfs(3))."""

from __future__ import annotations

import os

from . import proc

__all__ = ["short_of_disk", "short_of_memory"]

_LEAST_DISK = 64 << 20
"""Bytes free without which an output would soon end: the job's own log, a few results."""


def short_of_memory(needed: int) -> str | None:
    """A sentence when the kernel could not give so many bytes without swapping."""
    for line in proc.read_bytes("/proc/meminfo").splitlines():
        if line.startswith(b"MemAvailable:"):
            free = int(line.split()[1]) << 10
            return f"{_shown(free)} of memory are free, needed: {_shown(needed)}" if free < needed else None
    return None


def short_of_disk(directory: bytes) -> str | None:
    """A sentence when next to nothing more can be written there by an ordinary account."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    free = found.f_bavail * found.f_frsize
    if free >= _LEAST_DISK or not found.f_blocks:  # some network file systems do not say
        return None
    return f"{_shown(free)} are free in {directory.decode('utf-8', 'replace')}"


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"  # noqa: PLR2004 (SI prefixes)
