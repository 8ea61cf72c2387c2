"""The way of one image, from the guard of the original to the launcher at the target.

Its memory goes from one node's command to the other's by pipes that we only tie together; it is opened before the
freeze, and most of it goes ahead, so that a frozen job waits for what it has changed since. The rest is small and comes
with the guard's answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

from offloader.errors import NodeUnreachable
from offloader.moves.agent import Agent
from offloader.moves.both_ends import End, pipe

__all__ = ["Arrived", "Imaging"]


class Arrived(NamedTuple):
    """Bytes of memory at the target: those that came with the dump, and those that went ahead of it."""

    dumped: int
    ahead: int


class Imaging:
    """`open`, then the guard dumps, then `arrived`; `close` in any case."""

    def __init__(self, source: tuple[Agent, str], target: tuple[Agent, str]) -> None:
        """Args: nodes, and the directories there: of the guard, of the attempt."""
        self._source = source
        self._target = target
        self._receiver: End | None = None
        self._ends = contextlib.AsyncExitStack()

    async def open(self, criu: str, *, ahead_s: float, limit_s: float) -> None:
        """Both ends wait for the dump, once the job's memory has gone ahead, for at most `ahead_s`, while it runs.

        Args:
            criu: its path at the target.
            ahead_s: what has not gone by then goes with the dump.
            limit_s: how long either end may take for everything else.

        Raises: VerbFailed, NodeUnreachable, TimeoutError.
        """
        (sender, there), (receiver, here) = self._source, self._target
        with contextlib.ExitStack() as ours:
            forward, backward = pipe(ours), pipe(ours)
            arguments: tuple[str, ...] = (there, f"{ahead_s:g}")
            source = await End.attached(self._ends, sender, "pages", *arguments, stdin=backward[0], stdout=forward[1])
            arguments = (here, criu, f"{limit_s:g}")
            target = await End.attached(
                self._ends, receiver, "receive", *arguments, stdin=forward[0], stdout=backward[1]
            )
        async with asyncio.timeout(ahead_s + limit_s):
            for end in (source, target):
                await end.document()
        self._receiver = target

    async def arrived(self, *, limit_s: float) -> Arrived:
        """Once all of the memory is at the target. Raises VerbFailed, NodeUnreachable, TimeoutError."""
        assert self._receiver is not None
        async with asyncio.timeout(limit_s):
            report = await self._receiver.document()
        try:
            return Arrived(int(report["pages_bytes"]), int(report["ahead_bytes"]))
        except (KeyError, TypeError, ValueError) as error:
            raise NodeUnreachable(f"{self._target[0].node.name}: what answers is no launcher") from error

    async def rest(self, told: str | None) -> str | None:
        """What is to be said to the launcher of the rest: it, or None where it was too large and is there already.

        Raises VerbFailed, NodeUnreachable.
        """
        if told is not None:
            return told
        (sender, there), (receiver, here) = self._source, self._target
        packed = await sender.verb("pack", there)
        await receiver.verb("unpack", here, stdin=str(packed["rest"]).encode("ascii"))
        return None

    async def close(self) -> None:
        """Whatever is still on its way stops."""
        self._receiver = None
        await self._ends.aclose()
