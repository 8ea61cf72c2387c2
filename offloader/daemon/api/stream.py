"""What the status page shows, as it changes: server-sent events (HTML Living Standard, section 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from offloader.daemon.api.gate import HEADERS

__all__ = ["Feed"]

Document = dict[str, Any]

_LOOK_S = 1.0
_SILENT_S = 15.0
_SLOW_S = 20.0
_MOST = 20
_TOO_MANY = 503


class Feed:
    """Everybody who watches gets the same document: it is made once a second, and only while somebody watches."""

    def __init__(self, ask: Callable[[], Awaitable[Document]]) -> None:
        self._ask = ask
        self._watching = 0
        self._closing = asyncio.Event()
        self._looked_t = 0.0
        self._known: tuple[str, str] = ("", "")
        self._looking = asyncio.Lock()

    async def close(self, _: web.Application | None = None) -> None:
        """End every stream: a controller that stops waits for nobody."""
        self._closing.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One stream, until either side ends it. A reader that takes nothing for 20 s is dropped."""
        if self._watching >= _MOST:
            return web.Response(text=f"{_MOST} pages are open already\n", status=_TOO_MANY)
        self._watching += 1
        try:
            response = web.StreamResponse(headers={**HEADERS, "Cache-Control": "no-store"})
            response.content_type = "text/event-stream"
            await response.prepare(request)
            await self._feed(response)
        finally:
            self._watching -= 1
        return response

    async def _feed(self, response: web.StreamResponse) -> None:
        sent, clock = "", asyncio.get_running_loop().time
        sent_t = clock()
        while not self._closing.is_set():
            shows, text = await self._current()
            if shows != sent or clock() - sent_t > _SILENT_S:
                message = f"data: {text}\n\n" if shows != sent else ": nothing new\n\n"
                async with asyncio.timeout(_SLOW_S):
                    await response.write(message.encode())
                sent, sent_t = shows, clock()
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._closing.wait()
            except TimeoutError:
                continue

    async def _current(self) -> tuple[str, str]:
        """What it shows (to compare), and the message."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if now - self._looked_t >= _LOOK_S / 2:
                document = await self._ask()
                self._looked_t = asyncio.get_running_loop().time()
                self._known = (json.dumps(_lasting(document)), json.dumps(document, allow_nan=False))
            return self._known


def _lasting(document: Document) -> Document:
    """Without what changes by itself all the time: the page reckons ages on its own."""
    status = {name: value for name, value in document["status"].items() if name != "t"}
    status["next"] = {name: value for name, value in status["next"].items() if name != "chain"}
    return {**document, "status": status}
