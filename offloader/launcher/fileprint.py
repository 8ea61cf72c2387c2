"""Is that file here the same one as there? Answered by content for programs, by inode for files that are written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

__all__ = ["FilePrint", "Mark", "SharedDevices", "SharedFile", "digest", "mark"]

_EDGE_BYTES = 4 << 20

SharedDevices = AbstractSet[tuple[int, int]]
"""File systems that both nodes see: device number at the source, and on this node."""


def digest(path: str | bytes) -> str:
    """SHA-256 over the first and last 4 MiB and the size: tells builds of a program apart without reading gigabytes."""
    checksum = hashlib.sha256()
    with Path(os.fsdecode(path)).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        checksum.update(stream.read(_EDGE_BYTES))
        if size > 2 * _EDGE_BYTES:
            stream.seek(-_EDGE_BYTES, os.SEEK_END)
        checksum.update(stream.read(_EDGE_BYTES))
    checksum.update(str(size).encode("ascii"))
    return checksum.hexdigest()


class Mark(NamedTuple):
    """What tells a file that was written or replaced from the one that was there before."""

    inode: int
    size: int
    mtime_ns: int


def mark(path: bytes | None) -> Mark | None:
    """The file as it is now; None where there is none."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return Mark(found.st_ino, found.st_size, found.st_mtime_ns)


class FilePrint(NamedTuple):
    """A program file: where it was, what it contained (see digest), and how large it was (0: not known)."""

    path: bytes
    digest: str
    size: int = 0


class SharedFile(NamedTuple):
    """A file that is written: only the very same inode will do."""

    dev: int
    inode: int
    size: int

    def is_here(self, path: bytes, shared: SharedDevices) -> bool:
        """Whether `path` on this node is that file: on a file system that is proven to be the same one, by inode.

        Device numbers differ between nodes, and private disks may well use the same numbers of both kinds; so
        `shared` holds the pairs that a token has proven (tokens.py). A size that has shrunk shows another file.
        """
        try:
            found = os.stat(path)
        except OSError:
            return False
        return (self.dev, found.st_dev) in shared and found.st_ino == self.inode and found.st_size >= self.size
