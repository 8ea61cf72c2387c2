"""Channels that hang, fail or are slow delay nobody: not the sender, not each other."""

import asyncio
from dataclasses import replace

import pytest

from offloader.errors import ExternalError
from offloader.notify.message import Message, MessageKind
from offloader.notify.post import Post

MESSAGE = Message(MessageKind.NOTICE, 0.0, 1000, "alice", 42, "train.py", "head1", "gpu1", "restart")


class Recording:
    def __init__(self, name="good", error=None, limit_s=5.0, answer=True):
        self.name, self.error, self.limit_s, self.answer = name, error, limit_s, answer
        self.sent = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = False

    async def send(self, message):
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        self.sent.append(message)
        return self.answer


def counting():
    counted = []
    return counted, lambda *what: counted.append(what)


async def settled(post):
    await asyncio.gather(*(queue.join() for queue in post._queues.values()))


async def test_messages_arrive_in_their_order_by_every_channel():
    one, two = Recording("one"), Recording("two")
    post = Post((one, two))
    messages = [replace(MESSAGE, t=float(t)) for t in range(5)]
    for message in messages:
        post.offer(message)
    await settled(post)
    assert one.sent == two.sent == messages
    await post.close()


@pytest.mark.parametrize("error", [ExternalError("no mail"), OSError("no such file"), KeyError("a fault of ours")])
async def test_a_channel_that_fails_goes_on_with_the_next_message_and_leaves_the_others_alone(error):
    counted, count = counting()
    bad, good = Recording("bad", error), Recording("good")
    post = Post((bad, good), count)
    post.offer(MESSAGE)
    await settled(post)
    bad.error = None
    post.offer(MESSAGE)
    await settled(post)
    assert (len(bad.sent), len(good.sent)) == (1, 2)
    assert ("bad", "notice", "failed") in counted
    await post.close()


async def test_a_channel_that_hangs_is_given_up_after_its_limit():
    counted, count = counting()
    slow = Recording("slow", limit_s=0.05)
    slow.gate.clear()
    post = Post((slow,), count)
    post.offer(MESSAGE)
    await settled(post)
    assert counted == [("slow", "notice", "failed")]
    await post.close()


async def test_a_channel_that_is_far_behind_loses_messages_and_costs_the_sender_nothing():
    counted, count = counting()
    stuck = Recording("stuck")
    stuck.gate.clear()
    post = Post((stuck,), count)
    for _ in range(150):
        post.offer(MESSAGE)
    assert 0 < len(counted) <= 50
    assert set(counted) == {("stuck", "notice", "dropped")}
    stuck.gate.set()
    await post.close()


async def test_closing_gives_what_is_under_way_a_moment_and_then_ends(monkeypatch):
    monkeypatch.setattr("offloader.notify.post._LAST_S", 0.05)
    quick, stuck = Recording("quick"), Recording("stuck", limit_s=60.0)
    stuck.gate.clear()
    post = Post((quick, stuck))
    post.offer(MESSAGE)
    await post.close()
    assert len(quick.sent) == 1
    assert stuck.cancelled


async def test_an_owner_who_cannot_be_reached_is_no_failure():
    counted, count = counting()
    post = Post((Recording("terminal", answer=False),), count)
    post.offer(MESSAGE)
    await settled(post)
    assert counted == [("terminal", "notice", "not_reachable")]
    await post.close()


async def test_without_channels_and_without_messages_nothing_runs():
    post = Post(())
    post.offer(MESSAGE)
    await post.close()
    await Post((Recording(),)).close()
