"""A conversation with one long-lived launcher role: JSON documents both ways, with deadlines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.ports import LineChannel

__all__ = ["Link", "LinkLost"]

Event = dict[str, Any]


class LinkLost(Exception):
    """The other side closed, or the connection broke. Says nothing about what runs there."""


class Link:
    """Events are queued in order; `on` handlers (lease questions) are served at once, whoever waits for what."""

    def __init__(self, channel: LineChannel, node: str) -> None:
        self.node = node
        self._channel = channel
        self._handlers: dict[str, Callable[[Event], Awaitable[None]]] = {}
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._ended = "the launcher closed the connection"
        self._reader = asyncio.create_task(self._read(), name=f"link to {node}")

    def on(self, event: str, handler: Callable[[Event], Awaitable[None]]) -> None:
        """Serve this event by a handler instead of queueing it. Errors of the handler end the link."""
        self._handlers[event] = handler

    async def send(self, document: Event) -> None:
        """Raises LinkLost."""
        try:
            await self._channel.send(json.dumps(document).encode())
        except NodeUnreachable as error:
            raise LinkLost(str(error)) from error

    async def expect(self, *events: str, timeout_s: float) -> Event:
        """The next event of one of these names; others before it, and what came unasked, are dropped (notices).

        Raises:
            LinkLost: the conversation ended first.
            TimeoutError: not within `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                event = await self._events.get()
                if event is None:
                    self._events.put_nowait(None)
                    raise LinkLost(f"{self.node}: {self._ended}")
                if event.get("unasked"):
                    continue
                if event.get("event") in events or "error" in event:
                    if "error" in event:
                        raise LinkLost(f"{self.node}: {event['error']}")
                    return event

    async def close(self) -> None:
        """Never raises, except that whoever waits for it may be cancelled."""
        self._reader.cancel()
        try:
            await asyncio.wait({self._reader})
        finally:
            await self._channel.close()

    async def _read(self) -> None:
        try:
            async for line in self._channel.lines():
                event = _parse(line)
                if event is None:
                    continue
                handler = self._handlers.get(str(event.get("event")))
                if handler is None:
                    self._events.put_nowait(event)
                else:
                    await handler(event)
        except (LinkLost, NodeUnreachable) as error:
            self._ended = str(error)
        finally:
            self._events.put_nowait(None)


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
