"""What is said over a terminal's way arrives once and in order, however often the way breaks."""

import random

import pytest

from offloader.launcher.terminal.lasting import LIMIT_BYTES, Lasting


def connected(one, other):
    """A fresh connection; what each end has to say first."""
    return {one: one.greeting(), other: other.greeting()}


def exchange(one, other, pending, heard, *, cut=None):
    """Until nobody has anything to say; with `cut` the connection breaks after so many bytes."""
    left = cut if cut is not None else 1 << 30
    while left > 0 and any(pending.values()):
        for sender, receiver in ((one, other), (other, one)):
            data, pending[sender] = pending[sender], b""
            heard[receiver] += receiver.hear(data[:left])
            left -= len(data)
            if left <= 0:
                return
            pending[sender] += sender.unsaid()
            pending[receiver] += receiver.unsaid()


def test_both_ways_over_one_connection():
    one, other = Lasting(), Lasting()
    one.say(b"o", b"first")
    one.say(b"o", b"second")
    other.say(b"k", b"key")
    heard = {one: [], other: []}
    exchange(one, other, connected(one, other), heard)
    assert heard == {one: [(b"k", b"key")], other: [(b"o", b"first"), (b"o", b"second")]}
    assert one.silent
    assert other.silent
    assert one.waiting_bytes == 0


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_or_doubled_by_connections_that_break_anywhere(seed):
    chance = random.Random(seed)
    one, other = Lasting(), Lasting()
    said, heard = {one: [], other: []}, {one: [], other: []}
    for _ in range(60):
        for end in (one, other):
            for _ in range(chance.randrange(4)):
                message = (b"o", chance.randbytes(chance.randrange(200)))
                end.say(*message)
                said[end].append(message)
        exchange(one, other, connected(one, other), heard, cut=chance.randrange(1, 900))
        if chance.random() < 0.3:  # one end is somebody else's from here on
            successor = Lasting.of(one.document())
            said[successor], heard[successor] = said.pop(one), heard.pop(one)
            one = successor
    exchange(one, other, connected(one, other), heard)
    assert (heard[other], heard[one]) == (said[one], said[other])
    assert one.silent
    assert other.silent


def test_what_nobody_hears_waits_and_says_when_it_is_too_much():
    one = Lasting()
    one.greeting()
    one.say(b"o", b"x" * (LIMIT_BYTES // 2))
    assert not one.full
    one.say(b"o", b"x" * (LIMIT_BYTES // 2))
    assert one.full
    assert one.unsaid() == b""  # it is not known what the other end has


def test_another_conversation_is_told_from_this_one():
    one, other, stranger = Lasting(), Lasting(), Lasting()
    one.say(b"o", b"first")
    exchange(one, other, connected(one, other), {one: [], other: []})
    one.say(b"o", b"second")
    one.greeting()
    with pytest.raises(ValueError, match="it has 0 messages of 2"):
        one.hear(stranger.greeting())
    one.greeting()
    for _ in range(3):
        stranger.say(b"k", b"")
    exchange(stranger, fresh := Lasting(), connected(stranger, fresh), {stranger: [], fresh: []})
    with pytest.raises(ValueError, match="it has 3 messages"):
        one.hear(fresh.greeting())


def test_a_message_too_many_is_nonsense():
    one, other = Lasting(), Lasting()
    for number in range(3):
        other.say(b"o", b"%d" % number)
    exchange(one, other, connected(one, other), {one: [], other: []})
    later = Lasting.of({**other.document(), "first": 5})
    later.say(b"o", b"five")
    later.greeting()
    later.hear(Lasting.of({"first": 0, "expected": 5, "waiting": []}).greeting())
    one.greeting()
    with pytest.raises(ValueError, match="message 5 came when 3"):
        one.hear(later.unsaid())
