"""What a dumping criu says to its page server, so that either of them can be ours (CRIU 4.2, criu/page-xfer.c).

Headers follow each other; behind one that adds pages which are present come these pages. A new image, and the end, are
answered.
"""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "ADD",
    "ENDS",
    "HEADER_BYTES",
    "IN_PARENT",
    "OPEN",
    "PAGE_BYTES",
    "PRESENT",
    "Header",
    "Server",
    "Spoken",
    "image_of",
]

OPEN, ADD, _CLOSE, _FORCE_CLOSE = 4, 6, 0x1023, 0x1024
ENDS = frozenset({_CLOSE, _FORCE_CLOSE})
IN_PARENT, PRESENT = 1, 4
"""Flags of added pages: the image made before has them; they follow."""

PAGE_BYTES = resource.getpagesize()
_LAYOUT = struct.Struct("@IQQQ")  # struct page_server_iov
HEADER_BYTES = _LAYOUT.size
_COMMAND_BITS = 16
_TYPE_BITS, _PROCESS = 8, 1
_ANSWER_TO_OPEN, _ANSWER_TO_END = 1, 4
_MOST_PIECES = 512  # of one writev(2); the kernel takes twice as many

Spoken = Sequence["bytes | memoryview"]


class Header(NamedTuple):
    """`pages` of the memory of `image` from `address` on."""

    command: int
    flags: int = 0
    pages: int = 0
    address: int = 0
    image: int = 0

    def packed(self) -> bytes:
        """As it is sent."""
        return _LAYOUT.pack(self.flags << _COMMAND_BITS | self.command, self.pages, self.address, self.image)

    @classmethod
    def unpacked(cls, data: bytes) -> Header:
        """The inverse."""
        command, pages, address, image = _LAYOUT.unpack(data)
        return cls(command & ((1 << _COMMAND_BITS) - 1), command >> _COMMAND_BITS, pages, address, image)


def image_of(pid: int) -> int:
    """What a process's memory is called, by the pid that it has in its own namespace."""
    return pid << _TYPE_BITS | _PROCESS


class Server:
    """A page server behind two descriptors. Both ways raise OSError or EOFError when it is gone."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing

    def say(self, pieces: Spoken) -> None:
        """All of it."""
        waiting = [memoryview(piece) for piece in pieces]
        while waiting:
            written = os.writev(self._writing, waiting[:_MOST_PIECES])
            while waiting and written >= len(waiting[0]):
                written -= len(waiting.pop(0))
            if written:
                waiting[0] = waiting[0][written:]

    def begin(self, image: int) -> bool:
        """The pages to come are of this image; whether the image made before has pages of it, too."""
        self.say([Header(OPEN, image=image).packed()])
        return self._answer(_ANSWER_TO_OPEN) != b"\0"

    def end(self, command: int = _CLOSE) -> bytes:
        """Nothing follows; its answer once it has everything."""
        self.say([Header(command).packed()])
        return self._answer(_ANSWER_TO_END)

    def _answer(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = os.read(self._reading, size - len(data))
            if not more:
                raise EOFError("the page server has ended")
            data += more
        return data
