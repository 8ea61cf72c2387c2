"""A dump on its way to the page server, without what is there already and has not changed since (ahead.py)."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from ..errors import LauncherError
from .ahead import BUFFER_BYTES, CHUNK_BYTES, Known, chunks, digest
from .page_stream import ADD, ENDS, HEADER_BYTES, IN_PARENT, OPEN, PAGE_BYTES, PRESENT, Header, Server

__all__ = ["Sieve"]

_NOTHING_KNOWN: Mapping[int, bytes] = {}


class Sieve:
    """Between one dumping criu and the page server of the target."""

    def __init__(self, dump: socket.socket, server: Server, known: Known) -> None:
        self._dump = dump
        self._server = server
        self._all_known = known
        self._known: Mapping[int, bytes] = _NOTHING_KNOWN
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._filled = 0
        self._run = Header(ADD)
        """What the buffer begins with."""

    def run(self) -> None:
        """Until criu has said everything, or ends. Raises LauncherError (BAD_MESSAGE), OSError, EOFError."""
        while (header := self._next()) is not None:
            if header.command == ADD and header.flags & PRESENT:
                self._add(header)
                continue
            self._flush(whole=True)
            if header.command == OPEN:
                there = self._server.begin(header.image)
                self._known = self._all_known.get(header.image, _NOTHING_KNOWN) if there else _NOTHING_KNOWN
                # The truth would make criu look for the record of written pages that its own pre-dumps keep.
                self._dump.sendall(b"\0")
            elif header.command == ADD:
                self._server.say([header.packed()])
            elif header.command in ENDS:
                self._dump.sendall(self._server.end(header.command))
            else:
                raise LauncherError("BAD_MESSAGE", f"criu says {header.command}, which nobody here knows")

    def _next(self) -> Header | None:
        data = bytearray(HEADER_BYTES)
        return Header.unpacked(bytes(data)) if self._receive(memoryview(data)) else None

    def _receive(self, room: memoryview) -> bool:
        """Fill it; False: criu has ended, before its first byte. Raises EOFError: in the midst of it."""
        got = 0
        while got < len(room):
            more = self._dump.recv_into(room[got:], len(room) - got, socket.MSG_WAITALL)
            if not more:
                if got:
                    raise EOFError("criu ended in the midst of its dump")
                return False
            got += more
        return True

    def _add(self, header: Header) -> None:
        """Criu cuts memory at its own buffers' ends: what continues is the same stretch."""
        end = self._run.address + self._filled
        if (header.address, header.image, header.flags) != (end, self._run.image, self._run.flags):
            self._flush(whole=True)
            self._run = header
        left = header.pages * PAGE_BYTES
        while left:
            size = min(left, len(self._buffer) - self._filled)
            if not self._receive(self._buffer[self._filled : self._filled + size]):
                raise EOFError("criu ended in the midst of its dump")
            self._filled += size
            left -= size
            if self._filled == len(self._buffer):
                self._flush(whole=False)

    def _flush(self, *, whole: bool) -> None:
        """Say what is in the buffer; of a stretch that may continue only the chunks that are complete."""
        address, size = self._run.address, self._filled
        if not whole:
            size -= (address + size) % CHUNK_BYTES
        pieces: list[bytes | memoryview] = []
        begun = 0
        unchanged = False
        for start, end in chunks(address, size):
            same = self._known.get(address + start) == digest(self._buffer[start:end]) if self._known else False
            if start and same != unchanged:
                pieces += self._said(begun, start, unchanged=unchanged)
                begun = start
            unchanged = same
        if size:
            pieces += self._said(begun, size, unchanged=unchanged)
        self._server.say(pieces)
        self._keep(size)

    def _said(self, start: int, end: int, *, unchanged: bool) -> list[bytes | memoryview]:
        flags = IN_PARENT if unchanged else self._run.flags
        pages = (end - start) // PAGE_BYTES
        header = Header(ADD, flags, pages, self._run.address + start, self._run.image).packed()
        return [header] if unchanged else [header, self._buffer[start:end]]

    def _keep(self, said: int) -> None:
        """What was not said moves to the front."""
        rest = self._filled - said
        self._buffer[:rest] = self._buffer[said : self._filled]
        self._run = self._run._replace(address=self._run.address + said)
        self._filled = rest
