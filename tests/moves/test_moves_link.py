"""A conversation with a launcher role: answers are told from notices."""

import asyncio
import json

import pytest

from offloader.moves.link import Link, LinkLost


class Channel:
    """A line channel that says what it was given, then waits; `close` takes its time."""

    def __init__(self, *events) -> None:
        self._events = events
        self.closing, self.closed = asyncio.Event(), False

    async def send(self, line):
        raise AssertionError(line)

    async def lines(self):
        for event in self._events:
            yield json.dumps(event).encode()
        try:
            await asyncio.Event().wait()
        finally:
            self.closing.set()
            await asyncio.sleep(0.05)

    async def close(self):
        self.closed = True


async def test_what_came_unasked_is_not_taken_for_the_answer_to_a_question():
    """The leader was killed (`gone`) while others of its job stay frozen: the answer to `thaw` is `changed`."""
    channel = Channel({"event": "gone", "left": [7], "unasked": True}, {"event": "changed", "files": ["f"]})
    link = Link(channel, "head")
    assert (await link.expect("thawed", "changed", "gone", timeout_s=1))["event"] == "changed"
    await link.close()


async def test_closing_does_not_swallow_the_cancellation_of_whoever_closes():
    channel = Channel()
    link = Link(channel, "head")
    await asyncio.sleep(0)
    closing = asyncio.create_task(link.close())
    await channel.closing.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert channel.closed


async def test_a_handler_that_fails_says_why_the_conversation_ended():
    async def refuse(_event):
        raise LinkLost("the original is thawed")

    link = Link(Channel({"event": "lease?", "seq": 1}), "worker")
    link.on("lease?", refuse)
    with pytest.raises(LinkLost, match="thawed"):
        await link.expect("launched", timeout_s=1)
    await link.close()
