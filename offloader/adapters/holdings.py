"""What processes hold open, read from /proc for `edges`."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

from exporter.procfs.maps import SharedMapping
from exporter.procfs.process import Procfs
from exporter.procfs.read import ParseError
from exporter.procfs.unix_diag import unix_peers
from offloader.adapters.edges import Holdings, Links, Pipe, Tables, links, socket_inode

__all__ = ["read_links"]

_MEMORY_FILES = ("/dev/shm/", "/memfd:")  # noqa: S108 -- recognised, never written to
_DEVICES = ("/dev/", "/proc/", "/sys/")
_TCP = ("tcp", "tcp6")


@dataclass(frozen=True, slots=True)
class _NamedFile:
    """A regular file that others can open too."""

    path: str
    inode: int


def read_links(procfs: Procfs, pids: Iterable[int]) -> dict[int, Links]:
    """The links of every process whose descriptors may be read; for others there is no entry."""
    holdings: dict[int, Holdings] = {}
    complete = True
    waiting = procfs.waiting_for_locks()
    for pid in pids:
        found = _holdings(procfs, pid, waiting)
        if found is not None:
            holdings[pid] = found
        elif procfs.stat(pid) is not None:  # there, but not for us to read
            complete = False
    one_of = {held.network: pid for pid, held in holdings.items() if held.network is not None and held.sockets}
    tcp = {network: procfs.inet_sockets(pid, _TCP) for network, pid in one_of.items()}
    return links(holdings, Tables(_unix_peers(), tcp, complete))


def _holdings(procfs: Procfs, pid: int, waiting: frozenset[tuple[int, int]]) -> Holdings | None:
    targets = procfs.fds(pid)
    if targets is None:
        return None
    pipes: set[Pipe] = set()
    sockets: set[int] = set()
    locked: set[str] = set()
    memory = set(procfs.shared_mappings(pid) or ())
    for descriptor, target in targets.items():
        match _thing(procfs, pid, descriptor, target):
            case Pipe() as pipe:
                pipes.add(pipe)
            case SharedMapping() as shared:
                memory.add(shared)
            case int() as inode:
                sockets.add(inode)
            case _NamedFile() as file:
                if procfs.locks(pid, descriptor) or (pid, file.inode) in waiting:
                    locked.add(file.path)
            case None:
                pass
    network = procfs.file_status(pid, "ns/net") if sockets else None
    number = network.st_ino if network else None
    return Holdings(tuple(pipes), frozenset(sockets), frozenset(memory), number, frozenset(locked))


def _thing(procfs: Procfs, pid: int, descriptor: int, target: str) -> Pipe | SharedMapping | int | _NamedFile | None:
    """What a descriptor is: an end of a pipe or FIFO, shared memory, a socket's inode, a file; None: of no interest."""
    if target.startswith("pipe:["):
        return _pipe(procfs, pid, descriptor, target)
    in_memory = target.startswith(_MEMORY_FILES)
    if not in_memory and (not target.startswith("/") or target.startswith(_DEVICES)):
        return socket_inode(target)
    status = procfs.file_status(pid, f"fd/{descriptor}")
    if status is None:
        return None
    if in_memory:
        return SharedMapping(status.st_dev, status.st_ino, memory=True)
    if stat.S_ISREG(status.st_mode):
        return _NamedFile(target, status.st_ino) if status.st_nlink else None
    name = f"fifo:{status.st_dev}:{status.st_ino}"
    return _pipe(procfs, pid, descriptor, name) if stat.S_ISFIFO(status.st_mode) else None


def _pipe(procfs: Procfs, pid: int, descriptor: int, name: str) -> Pipe:
    """The link's own permissions say how it was opened (man 5 proc, /proc/PID/fd)."""
    link = procfs.file_status(pid, f"fd/{descriptor}", follow=False)
    mode = link.st_mode if link else stat.S_IRUSR | stat.S_IWUSR
    return Pipe(name, bool(mode & stat.S_IRUSR), bool(mode & stat.S_IWUSR))


def _unix_peers() -> dict[int, int | None] | None:
    try:
        return unix_peers()
    except (OSError, ParseError):
        return None
