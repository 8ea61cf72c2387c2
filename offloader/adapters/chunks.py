"""Bytes in, the same bytes out: what every ByteChannel hands to its reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

__all__ = ["ChunkInbox"]

_FULL_BYTES = 1 << 20  # waiting for the reader: from here the sender has to wait


class ChunkInbox:
    """Keeps pieces of a stream until they are read. Lives in one event loop; one reader at a time."""

    def __init__(self, *, on_full: Callable[[], None], on_room: Callable[[], None]) -> None:
        """Args: on_full, on_room: stop and go on feeding."""
        self._on_full = on_full
        self._on_room = on_room
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._ended = False
        self._news = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._chunks.append(data)
        self._waiting_bytes += len(data)
        self._news.set()
        if self._waiting_bytes > _FULL_BYTES and not self._paused:
            self._paused = True
            self._on_full()

    def end(self) -> None:
        """Nothing more comes. Calling it again is fine."""
        self._ended = True
        self._news.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive, until the end."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._waiting_bytes -= len(chunk)
                if self._paused and self._waiting_bytes <= _FULL_BYTES // 2:
                    self._paused = False
                    self._on_room()
                yield chunk
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()
