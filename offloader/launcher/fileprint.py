"""Is that file here the same one as there? Answered by content for programs, by inode for files that are written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["FilePrint", "SharedFile", "digest", "file_system"]

_EDGE_BYTES = 4 << 20
_NETWORK = frozenset(
    {"nfs", "nfs4", "lustre", "ceph", "beegfs", "gpfs", "cifs", "smb3", "afs", "9p", "virtiofs", "fuse.glusterfs"}
)


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


class FilePrint(NamedTuple):
    """A program file: where it was and what it contained (see digest)."""

    path: bytes
    digest: str


class SharedFile(NamedTuple):
    """A file that is written: only the very same inode will do."""

    dev: int
    inode: int
    size: int
    file_system: str

    def is_here(self, path: bytes) -> bool:
        """Whether `path` on this node is that file.

        Device numbers of network file systems differ between nodes, so there the inode and a size that has not shrunk
        decide; anywhere else the device must agree too (private disks may well use the same inode numbers).
        """
        try:
            found = os.stat(path)
        except OSError:
            return False
        if found.st_ino != self.inode:
            return False
        if found.st_dev == self.dev:
            return True
        networked = self.file_system in _NETWORK and file_system(found.st_dev) == self.file_system
        return networked and found.st_size >= self.size


def file_system(device: int) -> str:
    """The file system type behind a device number, "" when no mount shows it (proc_pid_mountinfo(5))."""
    number = f"{os.major(device)}:{os.minor(device)}".encode("ascii")
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        left, _, right = line.partition(b" - ")
        if left.split()[2] == number:
            return right.split()[0].decode("ascii", "replace")
    return ""
