"""The way of messages: every channel has a queue and a worker of its own, so that none can delay a move or another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from offloader.errors import OffloaderError

__all__ = ["Channel", "Post", "Telling"]

log = logging.getLogger(__name__)

_WAITING = 100
"""Messages that a channel may be behind; further ones are dropped for it."""
_LAST_S = 2.0


class Telling(Protocol):
    """What can be told: a message to an owner, an alarm to the administrators."""

    @property
    def kind(self) -> StrEnum:
        """In metrics."""


M = TypeVar("M", bound=Telling)
M_contra = TypeVar("M_contra", bound=Telling, contravariant=True)


class Channel(Protocol[M_contra]):
    """One way to reach somebody (adapters/channels)."""

    @property
    def name(self) -> str:
        """In logs and metrics."""

    @property
    def limit_s(self) -> float:
        """How long one message may take."""

    async def send(self, message: M_contra) -> bool:
        """Deliver. False: he cannot or will not be reached this way. Whatever it raises is a failure."""


class Post(Generic[M]):
    """Takes messages at once, delivers them in order, one at a time per channel; failures are counted and logged."""

    def __init__(
        self, channels: Sequence[Channel[M]], counted: Callable[[str, str, str], None] = lambda *_: None
    ) -> None:
        """Args: counted: is told channel, kind and outcome (delivered, not_reachable, failed, dropped)."""
        self._queues = {channel.name: asyncio.Queue[M](_WAITING) for channel in channels}
        self._channels = tuple(channels)
        self._counted = counted
        self._workers: list[asyncio.Task[None]] = []

    def offer(self, message: M) -> None:
        """Returns at once, whatever the channels do. Needs a running loop."""
        if not self._workers:
            self._workers = [asyncio.create_task(self._work(one), name=f"tell by {one.name}") for one in self._channels]
        for name, queue in self._queues.items():
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self._counted(name, message.kind.value, "dropped")
                log.warning("message dropped: the channel is far behind", extra={"channel": name})

    async def close(self) -> None:
        """Give what is under way a moment, then end."""
        waiting = [asyncio.create_task(queue.join()) for queue in self._queues.values()]
        if waiting and self._workers:
            await asyncio.wait(waiting, timeout=_LAST_S)
        for task in (*waiting, *self._workers):
            task.cancel()
        await asyncio.gather(*waiting, *self._workers, return_exceptions=True)

    async def _work(self, channel: Channel[M]) -> None:
        queue = self._queues[channel.name]
        while True:
            message = await queue.get()
            try:
                self._counted(channel.name, message.kind.value, await self._deliver(channel, message))
            finally:
                queue.task_done()

    async def _deliver(self, channel: Channel[M], message: M) -> str:
        try:
            async with asyncio.timeout(channel.limit_s):
                delivered = await channel.send(message)
        except TimeoutError:
            log.warning("message not delivered in time", extra={"channel": channel.name, "limit_s": channel.limit_s})
            return "failed"
        except (OffloaderError, OSError) as error:
            log.warning("message not delivered", extra={"channel": channel.name, "error": error})
            return "failed"
        except Exception:  # the loop boundary: a fault in one channel must not end it, nor the others
            log.exception("message not delivered", extra={"channel": channel.name})
            return "failed"
        return "delivered" if delivered else "not_reachable"
