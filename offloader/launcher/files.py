"""What the frozen job has open for writing, and whether somebody else has written to it since.

A successor that truncated or filled a shared file would be corrupted by the original writing on at its old offset:
measured. So the original is not thawed onto files that changed. One that it only ever appends to may have grown: its
next line still lands at the end, and the job need not lose its work because the successor logged a line.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable

from . import proc
from .wire import Document, pack_bytes, unpack_bytes

__all__ = ["changed", "record"]

_SAME_FILE = ("dev", "inode", "links")
_SAME_CONTENT = ("size", "mtime_ns", "ctime_ns")


def record(pids: Iterable[int]) -> list[Document]:
    """Every writable regular file of these processes, each once."""
    found: dict[tuple[int, int], Document] = {}
    for pid in pids:
        for link, append in _writable(pid):
            with contextlib.suppress(OSError):
                note = {**_note(link), "append": append}
                known = found.setdefault((note["dev"], note["inode"]), note)
                known["append"] = known["append"] and append
    return list(found.values())


def changed(recorded: list[Document]) -> list[str]:
    """The paths of those that are not what they were; one that cannot be looked at any more counts as changed."""
    return [unpack_bytes(note["path"]).decode("utf-8", "replace") for note in recorded if not _unchanged(note)]


def _unchanged(before: Document) -> bool:
    """Links count too: a file that the successor replaced by another one lives on without a name."""
    try:
        now = _note(before["link"])
    except OSError:
        return False
    if any(now[name] != before[name] for name in _SAME_FILE):
        return False
    if before["append"]:
        return bool(now["size"] >= before["size"])
    return all(now[name] == before[name] for name in _SAME_CONTENT)


def _note(link: str) -> Document:
    """Read through the process' own descriptor: names may lead elsewhere by now."""
    with contextlib.suppress(OSError):
        # Opening makes a network file system ask its server instead of its cache (nfs(5), close-to-open).
        os.close(os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    found = os.stat(link)
    return {
        "link": link,
        "path": pack_bytes(os.readlink(link.encode("ascii"))),
        "dev": found.st_dev,
        "inode": found.st_ino,
        "links": found.st_nlink,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def _writable(pid: int) -> list[tuple[str, bool]]:
    """Its descriptors and shared mappings that can change a regular file, and whether they only append."""
    links: list[tuple[str, bool]] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            link = f"/proc/{pid}/fd/{number}"
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                flags = _flags(pid, number)
                if stat.S_ISREG(os.stat(link).st_mode) and flags & os.O_ACCMODE != os.O_RDONLY:
                    links.append((link, bool(flags & os.O_APPEND)))
        links += ((link, False) for link in _mapped(pid))
    return links


def _flags(pid: int, number: str) -> int:
    """How it was opened (proc_pid_fdinfo(5)); when that is not said, as if for writing."""
    for line in proc.read_bytes(f"/proc/{pid}/fdinfo/{number}").splitlines():
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8)
    return os.O_RDWR


def _mapped(pid: int) -> list[str]:
    """Shared writable mappings of files (proc_pid_maps(5)); /proc/PID/map_files leads to them, for root."""
    links: list[str] = []
    for line in proc.read_bytes(f"/proc/{pid}/maps").splitlines():
        fields = line.split(None, 5)
        if fields[1].startswith(b"rw-s") and fields[4] != b"0":
            link = f"/proc/{pid}/map_files/{fields[0].decode('ascii')}"
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.stat(link).st_mode):
                    links.append(link)
    return links
