"""One pass of rsync between two nodes: the controller hands on what each end says to the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.launcher.errors import LauncherError
from offloader.launcher.frames import FrameBuffer, frame, said
from offloader.moves.agent import Agent, VerbFailed
from offloader.ports import ByteChannel

__all__ = ["Passed", "one_pass"]

_LAST_WORDS_S = 1.0
"""After one end has failed: how long the other has to say why it did."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Passed:
    """What went over: files and bytes, what rsync complained about, and what the sender said first (gone paths)."""

    files: int
    bytes: int
    words: tuple[str, ...]
    header: Mapping[str, Any]


async def one_pass(
    sender: tuple[Agent, tuple[str, ...]],
    receiver: tuple[Agent, tuple[str, ...]],
    request: Mapping[str, Any],
    *,
    at_most_s: float,
) -> Passed:
    """Run `stage` at one node and `staged` at the other.

    Args:
        sender: a node, and the verb's arguments there.
        receiver: the same.
        request: what both are told; the receiver also gets `argv`, and what the sender says of its load.
        at_most_s: for all of it.

    Raises:
        VerbFailed: one end says why it cannot (NOT_STAGED, NO_ROOM, IDENTITY_MISMATCH, …).
        NodeUnreachable: a connection was lost; nothing of ours goes on running on a node that can be reached.
        TimeoutError: not in time.
    """
    async with asyncio.timeout(at_most_s), contextlib.AsyncExitStack() as open_ends:
        source = await _end(open_ends, *sender, "stage")
        await source.say(request)
        header = await source.document()
        if header.get("argv") is None:
            return _passed(header, await source.document())
        target = await _end(open_ends, *receiver, "staged")
        await target.say({**request, **header})
        return _passed(header, await _both_ways(source, target))


async def _both_ways(source: _End, target: _End) -> Document:
    """The sender's report, once both have come to their ends. What the receiver says of a failure counts first."""
    there, back = (asyncio.create_task(way) for way in (source.hand_on(target), target.hand_on(source)))
    try:
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_EXCEPTION)
        await asyncio.wait({there, back}, timeout=_LAST_WORDS_S)
        for one in (back, there):
            if one.done():
                one.result()
        return await there
    finally:
        for one in (there, back):
            one.cancel()
        await asyncio.gather(there, back, return_exceptions=True)


def _passed(header: Document, report: Document) -> Passed:
    return Passed(int(report["files"]), int(report["bytes"]), tuple(map(str, report["words"])), header)


async def _end(open_ends: contextlib.AsyncExitStack, agent: Agent, arguments: tuple[str, ...], verb: str) -> _End:
    channel = await agent.stream(verb, *arguments)
    open_ends.push_async_callback(channel.close)
    return _End(agent.node.name, channel)


class _End:
    """One node's end."""

    def __init__(self, node: str, channel: ByteChannel) -> None:
        self._node = node
        self._channel = channel
        self._frames = self._all()

    async def say(self, document: Mapping[str, Any]) -> None:
        await self._channel.send(said(dict(document)))

    async def document(self) -> Document:
        """What it says now. Raises VerbFailed, NodeUnreachable."""
        kind, content = await anext(self._frames, (b"", b""))
        if kind != b"J":
            raise NodeUnreachable(f"{self._node}: connection lost while a working directory was copied")
        document: Document = json.loads(content)
        self.check(document)
        return document

    def check(self, document: Document) -> None:
        """Raises VerbFailed when it is an error."""
        if "error" in document:
            raise VerbFailed(str(document["error"]), f"{self._node}: {document.get('detail', '')}")

    async def hand_on(self, other: _End) -> Document:
        """Everything that it says, to the other end, until it reports how it ended."""
        async for kind, content in self._frames:
            if kind == b"J":
                document: Document = json.loads(content)
                self.check(document)
                return document
            # An end that is over hears nothing any more; why it is, it says itself.
            with contextlib.suppress(NodeUnreachable):
                await other._channel.send(frame(kind, content))
        raise NodeUnreachable(f"{self._node}: connection lost while a working directory was copied")

    async def _all(self) -> AsyncIterator[tuple[bytes, bytes]]:
        buffer = FrameBuffer()
        try:
            async for data in self._channel.chunks():
                for one in buffer.feed(data):
                    yield one
        except LauncherError as error:
            raise NodeUnreachable(f"{self._node}: what answers is no launcher") from error
