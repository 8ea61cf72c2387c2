"""What a job has that its image refers to and the target must have too, or that criu cannot take: read at the source.

The other strategies' survey (holdings.py) asks what a *new* run needs; a live move also takes along what no new run
would have: deleted files, pipes, sockets, mappings, positions in files.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat

from .. import proc
from ..errors import LauncherError
from ..fileprint import digest
from ..obstacle import shown
from ..terminal.screen import device_of
from ..wire import Document, pack_bytes
from .sockets import protocol, sockets
from .tasks import pid_inside

__all__ = ["main", "survey"]

_KNOWN_DEVICES = frozenset({b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/random", b"/dev/urandom"})
_KNOWN_ANONYMOUS = frozenset({b"eventfd", b"eventpoll", b"inotify", b"signalfd", b"timerfd", b"fanotify", b"pidfd"})
_KNOWN_MAPPINGS = re.compile(rb"/memfd:|/dev/zero|/\[aio\]|\[(?!uprobes)|anon_inode:|$")
_TERMINALS = (b"/dev/pts/", b"/dev/tty", b"/dev/console", b"/dev/ptmx")
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_SHARED_WITH_US = ("ipc", "net", "time", "user", "uts")
_DELETED = b" (deleted)"
_OWN_MEMORY = ("RssAnon", "RssShmem", "VmSwap")
"""Of proc_pid_status(5): what no file of the target has, in KiB."""


def survey(pids: list[int]) -> Document:
    """Of all these processes, the leader first; paths in base64.

    Raises:
        LauncherError: NO_SUCH_PROCESS: the leader has ended; UNREADABLE: they are not ours to look at.
    """
    try:
        return _Estate(pids).document()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise LauncherError("NO_SUCH_PROCESS", f"process {pids[0]} ended") from error
    except PermissionError as error:
        raise LauncherError("UNREADABLE", f"the job may not be read: {error.strerror}") from error


class _Estate:
    """Gathered over all members, every thing once."""

    def __init__(self, pids: list[int]) -> None:
        self._files: dict[tuple[int, int], Document] = {}
        self._programs: dict[bytes, Document] = {}
        self._directories: set[bytes] = set()
        self._pipes: dict[int, set[str]] = {}
        self._sockets: dict[int, str] = {}
        self._strange: set[str] = set()
        self._memory = 0
        self._terminals: dict[str, str] = {}
        self._pids = pids
        self._members = [self._member(pids[0])]
        for pid in pids[1:]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self._members.append(self._member(pid))

    def document(self) -> Document:
        parents = {member["pid"]: member["parent"] for member in self._members}
        return {
            "members": self._members,
            "outside": [pid for pid in parents if pid != self._pids[0] and parents[pid] not in parents],
            "files": self._with_locks(),
            "programs": [{"path": pack_bytes(path), **one} for path, one in sorted(self._programs.items())],
            "directories": [pack_bytes(path) for path in sorted(self._directories)],
            "half_pipes": sorted(inode for inode, ends in self._pipes.items() if ends != {"read", "write"}),
            "sockets": sockets(self._pids[0], self._sockets) if self._sockets else [],
            "strange": sorted(self._strange),
            "terminals": [{"device": device, "path": path} for device, path in sorted(self._terminals.items())],
            "memory_bytes": self._memory,
        }

    def _member(self, pid: int) -> Document:
        stat_now, status = proc.read_stat(pid), proc.status(pid)
        if stat_now is None or stat_now.dead:
            raise ProcessLookupError
        self._directories.update(os.readlink(f"/proc/{pid}/{name}".encode("ascii")) for name in ("cwd", "root"))
        self._mappings(pid)
        self._memory += sum(int(status.get(name, "0").split()[0]) << 10 for name in _OWN_MEMORY)
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self._descriptor(pid, number)
        return {
            "pid": pid,
            "parent": stat_now.ppid,
            "uid": int(status["Uid"].split()[0]),
            "stopped": stat_now.state == "T",
            "tracer": int(status["TracerPid"]),
            "foreign": _foreign(pid, self._pids[0], status),
        }

    def _descriptor(self, pid: int, number: str) -> None:
        link = f"/proc/{pid}/fd/{number}"
        path, found = os.readlink(link.encode("ascii")), os.stat(link)
        flags = _flags(pid, number)
        if stat.S_ISSOCK(found.st_mode):
            self._sockets[found.st_ino] = protocol(link)
        elif path.startswith(b"pipe:"):
            ends = {os.O_RDONLY: {"read"}, os.O_WRONLY: {"write"}}.get(flags & os.O_ACCMODE, {"read", "write"})
            self._pipes.setdefault(found.st_ino, set()).update(ends)
        elif not path.startswith(b"/"):
            self._anonymous(path)
        elif stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode):
            self._file(path, found, flags)
        elif stat.S_ISDIR(found.st_mode):
            self._directories.add(path)
        elif path.startswith(_TERMINALS):
            self._terminals[device_of(found)] = shown(path)
        elif path not in _KNOWN_DEVICES:
            self._strange.add(f"the device {shown(path)}")

    def _anonymous(self, path: bytes) -> None:
        """anon_inode:[eventfd], anon_inode:inotify, pidfd:[123]: the names of fs/anon_inodes.c and its users."""
        kind = path.removeprefix(b"anon_inode:").strip(b"[]").split(b":")[0]
        if kind not in _KNOWN_ANONYMOUS:
            self._strange.add(f"a descriptor of kind {shown(kind)}")

    def _file(self, path: bytes, found: os.stat_result, flags: int, *, mapped: bool = False) -> None:
        if path.startswith((b"/memfd:", b"/proc/", b"/sys/")):
            return
        deleted = found.st_nlink == 0
        append = flags & os.O_ACCMODE == os.O_WRONLY and bool(flags & os.O_APPEND)
        known = self._files.setdefault(
            (found.st_dev, found.st_ino),
            {
                "path": pack_bytes(path[: -len(_DELETED)] if deleted and path.endswith(_DELETED) else path),
                "dev": found.st_dev,
                "inode": found.st_ino,
                "size": found.st_size,
                "deleted": deleted,
                "nameless": not deleted and not _leads_to(path, found),
                "append": True,
                "writable": False,
                "stored_to": False,
                "locked": False,
            },
        )
        known["append"] = known["append"] and append and not mapped
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        known["writable"] = known["writable"] or writable
        known["stored_to"] = known["stored_to"] or (mapped and writable)

    def _mappings(self, pid: int) -> None:
        """Programs and libraries must be the very same; other mapped files count as files (proc_pid_maps(5))."""
        lines = [line.split(None, 5) for line in proc.read_bytes(f"/proc/{pid}/maps").splitlines()]
        for fields in sorted(lines, key=lambda fields: fields[1][2:3] != b"x"):  # of a program, its data is no file
            path = fields[5] if len(fields) > 5 else b""  # noqa: PLR2004 (the path, where there is one)
            if path.startswith(b"/SYSV"):
                self._strange.add("System V shared memory")
            elif path.startswith(b"/dev/") and not path.startswith((b"/dev/shm/", b"/dev/zero")):
                self._strange.add(f"memory of the device {shown(path)}")
            elif path == b"[uprobes]":
                self._strange.add("a probe of a tracer (uprobes)")
            elif path.startswith(b"/") and not _KNOWN_MAPPINGS.match(path):
                self._mapped(pid, path, fields)

    def _mapped(self, pid: int, path: bytes, fields: list[bytes]) -> None:
        link = f"/proc/{pid}/map_files/{_range(fields[0])}"
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(link)
            if fields[1][2:3] == b"x" and found.st_nlink and path not in self._programs:
                self._programs[path] = {"digest": digest(link), "size": found.st_size}
            elif fields[1][2:3] != b"x" and path not in self._programs:
                self._file(path, found, os.O_RDWR if fields[1].startswith(b"rw-s") else os.O_RDONLY, mapped=True)

    def _with_locks(self) -> list[Document]:
        """Who else has, or waits for, a lock on one of the files (proc_locks(5))."""
        for line in proc.read_bytes("/proc/locks").decode("ascii", "replace").splitlines():
            fields = [field for field in line.split() if field != "->"]
            if fields[1] not in {"FLOCK", "POSIX", "OFDLCK"}:
                continue
            major, minor, inode = fields[5].split(":")
            known = self._files.get((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
            if known is not None:
                theirs = int(fields[4]) not in self._pids and int(fields[4]) > 0
                known["locked_by_others" if theirs else "locked"] = True
        return sorted(self._files.values(), key=lambda one: str(one["path"]))


def _foreign(pid: int, leader: int, status: dict[str, str]) -> list[str]:
    """Kinds of namespaces in which it is neither with the leader nor, where that matters, with us."""
    links = {name: _namespace(pid, name) for name in _NAMESPACES}
    apart = [name for name in _NAMESPACES if links[name] != _namespace(leader, name)]
    apart += [name for name in _SHARED_WITH_US if links[name] != _namespace("self", name)]
    if links["pid"] != _namespace("self", "pid"):
        # criu gives what it restores a time namespace, so that its clocks go on from where they were.
        return sorted(set(apart) - {"time"} if _in_cradle(pid, pid_inside(status)) else {*apart, "pid"})
    return sorted(set(apart))


def _in_cradle(pid: int, inside: int) -> bool:
    """Whether the init of its pid namespace is one that `cradle` started."""
    while inside != 1:
        above = proc.read_stat(pid)
        if above is None or above.ppid <= 1:
            return False
        pid = above.ppid
        inside = pid_inside(proc.status(pid))
    return any(entry.startswith(b"OFFLOADING_TASK_ID=") for entry in proc.environ(pid))


def _namespace(pid: int | str, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}")
    except FileNotFoundError:  # a kernel without this kind
        return ""


def _leads_to(path: bytes, found: os.stat_result) -> bool:
    """Whether the file is still reached by its name, and that name is no stand-in of NFS for a deleted one."""
    if os.path.basename(path).startswith(b".nfs"):
        return False
    try:
        here = os.stat(path)
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (found.st_dev, found.st_ino)


def _flags(pid: int, number: str) -> int:
    for line in proc.read_bytes(f"/proc/{pid}/fdinfo/{number}").splitlines():
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8)
    return os.O_RDWR


def _range(text: bytes) -> str:
    """/proc/PID/map_files has the addresses without leading zeros."""
    return "-".join(f"{int(one, 16):x}" for one in text.split(b"-"))


def main(arguments: list[str]) -> Document:
    """The verb: `estate PID…`, the leader first."""
    if not arguments or not all(argument.isdigit() for argument in arguments):
        raise LauncherError("USAGE", "estate PID…")
    return survey([int(argument) for argument in arguments])
