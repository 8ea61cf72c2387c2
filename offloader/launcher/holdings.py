"""What the processes of a job have in their hands at the source, as far as the target must have it too.

Sources: proc_pid_fd(5), proc_pid_fdinfo(5), proc_pid_maps(5).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator

from . import proc
from .fileprint import digest
from .wire import Document, pack_bytes

__all__ = ["Holdings"]

_MOST = 1000
_HARMLESS_DEVICES = frozenset({b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/random", b"/dev/urandom"})
_TERMINALS = (b"/dev/pts/", b"/dev/tty", b"/dev/console", b"/dev/ptmx")
_OWN_TERMINAL = b"/dev/tty"
_DELETED = b" (deleted)"


class Holdings:
    """Gathered over all members; every path once. The leader's program, directory and streams are the capsule's."""

    def __init__(self, pids: Iterable[int]) -> None:
        """Raises PermissionError: a member is not ours to look at. One that ended meanwhile holds nothing."""
        self.files: dict[bytes, Document] = {}
        self.devices: dict[bytes, Document] = {}
        self.programs: dict[bytes, Document] = {}
        self.libraries: dict[bytes, int] = {}
        self.directories: set[bytes] = set()
        self.terminal = False
        self._capsules: set[bytes] = set()  # paths that the capsule has
        for position, pid in enumerate(pids):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self._add(pid, leader=position == 0)

    def document(self) -> Document:
        """As it travels: lists of at most 1000 entries, paths in base64."""
        return {
            "files": _listed(self.files),
            "devices": _listed(self.devices),
            "programs": _listed(self.programs),
            "libraries": [{"path": pack_bytes(path), "size": self.libraries[path]} for path in self._libraries()],
            "directories": [pack_bytes(path) for path in sorted(self.directories)[:_MOST]],
            "terminal": self.terminal,
        }

    def _libraries(self) -> list[bytes]:
        known = self._capsules.union(self.programs)
        return [path for path in sorted(self.libraries) if path not in known][:_MOST]

    def _add(self, pid: int, *, leader: bool) -> None:
        program, directory = (os.readlink(f"/proc/{pid}/{name}".encode()) for name in ("exe", "cwd"))
        if leader:
            self._capsules = {program, directory}
        if program not in self._capsules | set(self.programs):
            size = os.stat(f"/proc/{pid}/exe").st_size
            self.programs[program] = {"digest": digest(f"/proc/{pid}/exe"), "size": size}
        if directory not in self._capsules:
            self.directories.add(directory)
        self.libraries.update(_mapped_programs(pid))
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self._add_descriptor(pid, number, stream=leader and number in {"0", "1", "2"})

    def _add_descriptor(self, pid: int, number: str, *, stream: bool) -> None:
        link = f"/proc/{pid}/fd/{number}"
        path = os.readlink(link.encode())
        if not path.startswith(b"/") or path.startswith((b"/proc/", b"/sys/", b"/dev/shm/", b"/memfd:")):
            return
        found = os.stat(link)
        flags, locked = _flags_and_locks(pid, number)
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        if stat.S_ISREG(found.st_mode) and (locked or not stream):
            self._add_file(path, found, writable=writable, locked=locked, stream=stream)
        elif stat.S_ISDIR(found.st_mode) and path not in self._capsules:
            self.directories.add(path)
        elif (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)) and not stream:
            self._add_device(path, writable=writable)

    def _add_file(self, path: bytes, found: os.stat_result, *, writable: bool, locked: bool, stream: bool) -> None:
        known = self.files.setdefault(
            path,
            {
                "dev": found.st_dev,
                "inode": found.st_ino,
                "size": found.st_size,
                "deleted": found.st_nlink == 0 or path.endswith(_DELETED),
                "writable": False,
                "locked": False,
                "stream": stream,
            },
        )
        known["writable"] = known["writable"] or writable
        known["locked"] = known["locked"] or locked
        known["stream"] = known["stream"] and stream

    def _add_device(self, path: bytes, *, writable: bool) -> None:
        if path == _OWN_TERMINAL:
            self.terminal = True
        elif path not in _HARMLESS_DEVICES and not path.startswith(_TERMINALS):
            known = self.devices.setdefault(path, {"writable": False})
            known["writable"] = known["writable"] or writable


def _listed(found: dict[bytes, Document]) -> list[Document]:
    """What counts most comes first: of a job with more open files none that is locked or written may be left out."""
    first = sorted(found, key=lambda path: (not found[path].get("locked"), not found[path].get("writable"), path))
    return [{"path": pack_bytes(path), **found[path]} for path in first[:_MOST]]


def _flags_and_locks(pid: int, number: str) -> tuple[int, bool]:
    """How it was opened, and whether it carries a lock; leases and delegations stop nobody."""
    flags, locked = os.O_RDONLY, False
    for line in proc.read_bytes(f"/proc/{pid}/fdinfo/{number}").splitlines():
        if line.startswith(b"flags:"):
            flags = int(line.split()[1], 8)
        elif line.startswith(b"lock:") and line.split()[2] in {b"FLOCK", b"POSIX", b"OFDLCK"}:
            locked = True
    return flags, locked


def _mapped_programs(pid: int) -> Iterator[tuple[bytes, int]]:
    """Files mapped for execution: libraries, modules, and the ELF interpreter (ld.so(8)) among them."""
    seen = set()
    for line in proc.read_bytes(f"/proc/{pid}/maps").splitlines():
        fields = line.split(None, 5)
        path = fields[-1]
        if fields[1][2:3] == b"x" and path.startswith(b"/") and path not in seen:
            seen.add(path)
            with contextlib.suppress(OSError):
                yield path, os.stat(path).st_size
