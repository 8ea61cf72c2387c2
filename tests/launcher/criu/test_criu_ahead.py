"""Memory that goes ahead of its dump: together they are the memory as it was when the job froze, whatever it did."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from offloader.launcher import proc
from offloader.launcher.criu import ahead
from offloader.launcher.criu.page_stream import (
    ADD,
    ENDS,
    IN_PARENT,
    OPEN,
    PAGE_BYTES,
    PRESENT,
    Header,
    Server,
    image_of,
)
from offloader.launcher.criu.sieve import Sieve
from offloader.launcher.errors import LauncherError
from offloader.launcher.lease import boottime

MIB = 1 << 20
SIZE = 5 * MIB + 3 * PAGE_BYTES  # no whole number of anything
FORCE_CLOSE = max(ENDS)
LAZY = 2

HOLDS = f"""
import ctypes, mmap, sys
memory = mmap.mmap(-1, {SIZE} + 2 * {PAGE_BYTES}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range({SIZE} // {PAGE_BYTES}):
    memory[page * {PAGE_BYTES}:page * {PAGE_BYTES} + 8] = (page + 1).to_bytes(8, "big")
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
for line in sys.stdin:
    memory[int(line)] ^= 255
    print(flush=True)
"""


class Holder:
    """A process with memory of its own at a known place, the last two pages of which nobody ever touched."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.address = int(self._process.stdout.readline())
        self.pid = self._process.pid
        self.image = image_of(self.pid)
        stat = proc.read_stat(self.pid)
        assert stat is not None
        self.member = (self.pid, stat.start_ticks)

    def change(self, *offsets: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for offset in offsets:
            self._process.stdin.write(f"{offset}\n")
            self._process.stdin.flush()
            self._process.stdout.readline()

    def memory(self) -> bytes:
        with Path(f"/proc/{self.pid}/mem").open("rb", buffering=0) as stream:
            return os.pread(stream.fileno(), SIZE, self.address)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def holder() -> Iterator[Holder]:
    holder = Holder()
    yield holder
    holder.end()


class PageServer:
    """Keeps what it is told, page by page, as criu's does; `parent` is one that was there before."""

    def __init__(self, parent: "PageServer | None" = None) -> None:
        self.parent = parent
        self.pages: dict[tuple[int, int], bytes] = {}
        self.inherited: set[tuple[int, int]] = set()
        self.ended = False
        ours, self.theirs = socket.socketpair()
        self.server = Server(self.theirs.fileno(), self.theirs.fileno())
        self._thread = threading.Thread(target=self._serve, args=(ours,), daemon=True)
        self._thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while (data := stream.read(len(Header(0).packed()))) != b"":
                header = Header.unpacked(data)
                if header.command == OPEN:
                    there = self.parent is not None and any(one == header.image for one, _ in self.parent.pages)
                    connection.sendall(b"\1" if there else b"\0")
                elif header.command in ENDS:
                    connection.sendall(bytes(4))
                    self.ended = True
                for page in range(header.pages):
                    place = header.image, header.address + page * PAGE_BYTES
                    if header.flags & IN_PARENT:
                        self.inherited.add(place)
                    elif header.flags & PRESENT:
                        assert place not in self.pages
                        self.pages[place] = stream.read(PAGE_BYTES)

    def over(self) -> "PageServer":
        self.theirs.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self

    def page(self, place: tuple[int, int]) -> bytes:
        if place in self.inherited:
            assert self.parent is not None
            return self.parent.pages[place]
        return self.pages[place]

    def holds(self, holder: Holder) -> bytes:
        places = range(holder.address, holder.address + SIZE, PAGE_BYTES)
        return b"".join(self.page((holder.image, place)) for place in places)


def went_ahead(*holders: Holder, until: float | None = None) -> tuple[PageServer, ahead.Known, int]:
    server = PageServer()
    limit = boottime() + 60 if until is None else until
    known, sent = ahead.send([one.member for one in holders], server.server, until=limit)
    return server.over(), known, sent


def dumped(holder: Holder, before: PageServer | None, known: ahead.Known, cuts=(MIB,), flags=PRESENT | LAZY):
    """What arrives of it when criu says it in pieces of these sizes, in turn; and what criu was answered."""
    server = PageServer(before)
    criu, ours = socket.socketpair()
    answers = []

    def say() -> None:
        with criu:
            criu.sendall(Header(OPEN, image=holder.image).packed())
            answers.append(criu.recv(1))
            memory, at, turn = holder.memory(), 0, 0
            while at < SIZE:
                size = min(cuts[turn % len(cuts)], SIZE - at)
                header = Header(ADD, flags, size // PAGE_BYTES, holder.address + at, holder.image)
                criu.sendall(header.packed() + memory[at : at + size])
                at, turn = at + size, turn + 1
            criu.sendall(Header(FORCE_CLOSE).packed())
            answers.append(criu.recv(4))

    talking = threading.Thread(target=say, daemon=True)
    talking.start()
    with ours:
        Sieve(ours, server.server, known).run()
    talking.join(10)
    assert answers == [b"\0", bytes(4)]
    return server.over()


def test_what_a_process_holds_goes_ahead_and_what_it_never_touched_does_not(holder):
    server, known, sent = went_ahead(holder)
    assert server.holds(holder) == holder.memory()
    assert (holder.image, holder.address + SIZE) not in server.pages
    assert sent == len(server.pages) * PAGE_BYTES
    assert server.ended
    assert set(known) == {holder.image}


def test_nothing_that_has_not_changed_is_sent_again(holder):
    before, known, _ = went_ahead(holder)
    server = dumped(holder, before, known)
    assert server.pages == {}
    assert server.holds(holder) == holder.memory()
    assert server.ended


@pytest.mark.parametrize(
    "cuts", [(MIB,), (PAGE_BYTES,), (PAGE_BYTES, 300 << 10, 7 * PAGE_BYTES), (SIZE,), (ahead.CHUNK_BYTES,)]
)
def test_what_has_changed_is_sent_and_little_else_wherever_criu_cuts(holder, cuts):
    before, known, _ = went_ahead(holder)
    changed = (0, 1, 64 << 10, MIB - 1, MIB, 3 * MIB + 5, SIZE - 1)
    holder.change(*changed)
    server = dumped(holder, before, known, cuts)
    assert server.holds(holder) == holder.memory()
    assert before.holds(holder) != holder.memory()
    assert 0 < len(server.pages) * PAGE_BYTES <= len(changed) * ahead.CHUNK_BYTES


def test_everything_is_sent_where_nothing_is_there(holder):
    """It never went ahead; or the page server has nothing of it."""
    before, known, _ = went_ahead(holder)
    for server in (dumped(holder, before, {}), dumped(holder, PageServer().over(), known)):
        assert server.inherited == set()
        assert server.holds(holder) == holder.memory()


def test_pages_that_are_said_to_be_in_a_parent_are_passed_on(holder):
    before, known, _ = went_ahead(holder)
    server, (criu, ours) = PageServer(before), socket.socketpair()
    with criu, ours:
        criu.sendall(Header(ADD, IN_PARENT, 2, holder.address, holder.image).packed())
        criu.shutdown(socket.SHUT_WR)
        Sieve(ours, server.server, known).run()
    assert server.over().inherited == {(holder.image, holder.address + page * PAGE_BYTES) for page in range(2)}


def test_a_process_that_has_ended_is_left_out(holder):
    other = Holder()
    other.end()
    server, known, _ = went_ahead(other, holder)
    assert set(known) == {holder.image}
    assert server.holds(holder) == holder.memory()


def test_a_pid_that_is_somebody_elses_by_now_is_left_out(holder):
    holder.member = (holder.pid, holder.member[1] + 1)
    server, known, sent = went_ahead(holder)
    assert (server.pages, known, sent, server.ended) == ({}, {}, 0, True)


def test_it_ends_when_its_time_is_over(holder):
    server, _, sent = went_ahead(holder, until=boottime())
    assert (server.pages, sent, server.ended) == ({}, 0, True)


def test_pages_of_zeros_that_nobody_wrote_are_bounded_by_what_is_there():
    """A large array that was only read has present pages, but no memory."""
    size = 256 * MIB
    program = f"""
import mmap, sys
memory = mmap.mmap(-1, {size}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for place in range(0, {size}, {PAGE_BYTES}):
    memory[place]
print(flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        stat = proc.read_stat(process.pid)
        assert stat is not None
        server = PageServer()
        _, sent = ahead.send([(process.pid, stat.start_ticks)], server.server, until=boottime() + 60)
        server.over()
        assert sent < size // 4
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Header(77).packed(), LauncherError),
        (Header(ADD, PRESENT, 2, 0, 1).packed() + bytes(PAGE_BYTES), EOFError),
        (Header(OPEN).packed()[:7], EOFError),
    ],
)
def test_a_dump_that_is_none_is_told(said, error):
    server, (criu, ours) = PageServer(), socket.socketpair()
    with ours:
        with criu:
            criu.sendall(said)
        with pytest.raises(error):
            Sieve(ours, server.server, {}).run()
    server.over()


def test_a_page_server_that_is_gone_is_told(holder):
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises((OSError, EOFError)):
        ahead.send([holder.member], Server(ours.fileno(), ours.fileno()), until=boottime() + 60)


def test_chunks_begin_where_memory_or_a_multiple_begins():
    size = ahead.CHUNK_BYTES
    assert list(ahead.chunks(size - 10, size + 30)) == [(0, 10), (10, size + 10), (size + 10, size + 30)]
    assert list(ahead.chunks(0, size)) == [(0, size)]
    assert list(ahead.chunks(5, 0)) == []
