"""Memory that a process shares, from /proc/PID/maps (man 5 proc). Pure."""

import os
import re
from dataclasses import dataclass

_SHARED = re.compile(rb"^\S+ .(.).s [0-9a-f]+ ([0-9a-f]{2,5}):([0-9a-f]{2,5}) (\d{1,20}) +(/.*)$", re.MULTILINE)

_MEMORY = (b"/dev/shm/", b"/memfd:", b"/SYSV", b"/dev/zero")
"""Shared memory: POSIX, memfd_create(2), System V (its inode is the segment's id), and anonymous with MAP_SHARED."""


@dataclass(frozen=True, slots=True)
class SharedMapping:
    """A file or memory object, by device (as in st_dev) and inode. `memory`: it lives in memory only."""

    device: int
    inode: int
    memory: bool


def parse_shared(raw: bytes) -> frozenset[SharedMapping]:
    """Mappings with MAP_SHARED: of shared memory all, of files only writable ones, of other devices none.

    Many programs map the same read-only cache files; that couples nobody.
    """
    return frozenset(
        SharedMapping(os.makedev(int(major, 16), int(minor, 16)), int(inode), memory)
        for write, major, minor, inode, path in _SHARED.findall(raw)
        if (memory := path.startswith(_MEMORY)) or (write == b"w" and not path.startswith(b"/dev/"))
    )
