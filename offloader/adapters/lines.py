"""Bytes in, lines out: what every LineChannel hands to its reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

__all__ = ["LineInbox"]

_LINE_LIMIT = 1 << 20
_FULL_BYTES = 4 << 20  # waiting for the reader: from here the sender has to wait


def _nothing() -> None:
    return


class LineInbox:
    """Cuts a stream into lines and keeps them until they are read. Lives in one event loop; one reader at a time."""

    def __init__(
        self,
        *,
        on_full: Callable[[], None] = _nothing,
        on_room: Callable[[], None] = _nothing,
        line_limit: int = _LINE_LIMIT,
        full_bytes: int = _FULL_BYTES,
    ) -> None:
        """Args: on_full, on_room: stop and go on feeding; line_limit: a longer line is handed out in pieces."""
        self._on_full = on_full
        self._on_room = on_room
        self._line_limit = line_limit
        self._full_bytes = full_bytes
        self._partial = bytearray()
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._ended = False
        self._news = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._partial += piece
            self._cut()
            self._keep(bytes(self._partial))
            self._partial.clear()
        self._partial += rest
        self._cut()
        if self._waiting_bytes > self._full_bytes and not self._paused:
            self._paused = True
            self._on_full()

    def end(self) -> None:
        """Nothing more comes; a last line without its newline counts. Calling it again is fine."""
        if self._partial:
            self._keep(bytes(self._partial))
            self._partial.clear()
        self._ended = True
        self._news.set()

    async def lines(self) -> AsyncIterator[bytes]:
        """Lines as they arrive, without their newlines, until the end."""
        while True:
            while self._lines:
                line = self._lines.popleft()
                self._waiting_bytes -= len(line) + 1
                if self._paused and self._waiting_bytes <= self._full_bytes // 2:
                    self._paused = False
                    self._on_room()
                yield line
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    def _cut(self) -> None:
        while len(self._partial) > self._line_limit:
            self._keep(bytes(self._partial[: self._line_limit]))
            del self._partial[: self._line_limit]

    def _keep(self, line: bytes) -> None:
        self._lines.append(line)
        self._waiting_bytes += len(line) + 1
        self._news.set()
