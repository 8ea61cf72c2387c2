"""The memory of a job that still runs goes ahead of its dump: most of it will not have changed when it is frozen.

Whether it has is told by digests (SHA-256) of what was sent: not every kernel keeps a record of written pages, and none
of them for two at once. What changed, and what was not met here, goes with the dump (sieve.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from array import array
from collections.abc import Iterable, Iterator

from .. import proc
from ..lease import boottime
from .page_stream import ADD, PAGE_BYTES, PRESENT, Header, Server, image_of
from .tasks import pid_inside

__all__ = ["BUFFER_BYTES", "CHUNK_BYTES", "Known", "chunks", "digest", "send"]

CHUNK_BYTES = max(64 << 10, PAGE_BYTES)
"""What is compared, and sent again, as one. Chunks begin at multiples of it, or where memory begins."""

BUFFER_BYTES = 16 * CHUNK_BYTES

Known = dict[int, dict[int, bytes]]
"""Image → address of a chunk → its digest."""

_ENTRY_BYTES = 8  # of /proc/PID/pagemap, for each page
_ENTRIES = 1 << 16
_PRESENT_ANONYMOUS = 0b100  # the three highest bits: present, swapped, of a file (the kernel's pagemap.rst)


def digest(data: memoryview) -> bytes:
    """Of one chunk."""
    return hashlib.sha256(data).digest()


def chunks(address: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the chunks of a stretch of memory begin and end, as offsets into it."""
    offset = 0
    while offset < size:
        end = min(size, offset + CHUNK_BYTES - (address + offset) % CHUNK_BYTES)
        yield offset, end
        offset = end


def send(members: Iterable[tuple[int, int]], server: Server, *, until: float) -> tuple[Known, int]:
    """Send what those processes (pid, start time) have of their own; what was sent, and its bytes.

    It ends early when CLOCK_BOOTTIME is `until`. Processes that end meanwhile, and memory that cannot be read, are left
    to the dump. Raises OSError, EOFError when the page server is gone.
    """
    known: Known = {}
    total = 0
    for pid, start_ticks in members:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            status = proc.status(pid)
            memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if proc.same(pid, start_ticks) and boottime() < until:
                    one = _Process(pid, memory, image_of(pid_inside(status)), server)
                    # Pages of zeros that nobody wrote to are present too, without being anybody's.
                    total += one.send(int(status.get("RssAnon", "0").split()[0]) << 10, until)
                    known[one.image] = one.known
            finally:
                os.close(memory)
    server.end()
    return known, total


class _Process:
    def __init__(self, pid: int, memory: int, image: int, server: Server) -> None:
        self._pid = pid
        self._memory = memory
        self._server = server
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self.image = image
        self.known: dict[int, bytes] = {}

    def send(self, most_bytes: int, until: float) -> int:
        self._server.begin(self.image)
        sent = 0
        for start, end in _runs(self._pid):
            address = start
            while address < end:
                if sent >= most_bytes or boottime() >= until:
                    return sent
                size = min(end - address, BUFFER_BYTES - address % CHUNK_BYTES)
                got = self._read(address, size)
                sent += got
                if got < size:
                    break
                address += size
        return sent

    def _read(self, address: int, size: int) -> int:
        """One bufferful, remembered and sent. Less than asked for: it is not there any more."""
        try:
            got = os.preadv(self._memory, [self._buffer[:size]], address)
        except OSError:
            return 0
        got -= got % PAGE_BYTES
        if got:
            for start, end in chunks(address, got):
                self.known[address + start] = digest(self._buffer[start:end])
            header = Header(ADD, PRESENT, got // PAGE_BYTES, address, self.image)
            self._server.say([header.packed(), self._buffer[:got]])
        return got


def _runs(pid: int) -> Iterator[tuple[int, int]]:
    """Stretches of private memory that no file is behind, and that is there: neither untouched nor swapped out."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for start, end in _private(pid):
            yield from _present(pagemap.fileno(), start, end)


def _private(pid: int) -> Iterator[tuple[int, int]]:
    """proc_pid_maps(5). Huge pages and asynchronous input/output have an inode, the kernel's own pages a name."""
    for line in proc.read_bytes(f"/proc/{pid}/maps").splitlines():
        extent, flags, _, _, inode, *name = line.split(maxsplit=5)
        if flags.endswith(b"p") and inode == b"0" and (not name or not name[0].startswith(b"[v")):
            start, _, end = extent.partition(b"-")
            yield int(start, 16), int(end, 16)


def _present(pagemap: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    begun = None
    for address in range(start, end, _ENTRIES * PAGE_BYTES):
        count = min(_ENTRIES, (end - address) // PAGE_BYTES)
        data = os.pread(pagemap, count * _ENTRY_BYTES, address // PAGE_BYTES * _ENTRY_BYTES)
        entries = array("Q", data[: len(data) // _ENTRY_BYTES * _ENTRY_BYTES])
        here = address
        for there, group in itertools.groupby(entry >> 61 == _PRESENT_ANONYMOUS for entry in entries):
            if there and begun is None:
                begun = here
            elif not there and begun is not None:
                yield begun, here
                begun = None
            here += sum(1 for _ in group) * PAGE_BYTES
        if here < min(end, address + _ENTRIES * PAGE_BYTES):
            break  # it is gone
    else:
        here = end
    if begun is not None:
        yield begun, here
