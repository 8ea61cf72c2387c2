"""What owners read: what, why, where to, how to follow, how to undo, how to opt out; nothing that is private."""

import json
from dataclasses import replace

import pytest

from offloader.model import Reason
from offloader.notify.message import Message, MessageKind, Origin, Why
from offloader.notify.words import headline, lines

MESSAGE = Message(
    kind=MessageKind.NOTICE,
    t=1.7e9,
    uid=1000,
    user="alice",
    pid=4242,
    name="train.py",
    source="head1",
    target="gpu1",
    strategy="restart",
    origin=Origin(34816, "/home/alice/secret-plan.log"),
    why=Why("head/cpu", "grid:node_pressure:ratio", 0.93, 0.8),
    left_s=60.0,
)
MOVED = replace(MESSAGE, move="offload_1_4242")


def test_a_notice_says_what_why_where_to_and_how_to_object():
    text = "\n".join(lines(MESSAGE))
    for piece in ("train.py (pid 4242, alice)", "from head1 to gpu1 in 60 s", "head/cpu read 93%", "threshold is 80%"):
        assert piece in text
    for command in ("grid-offloader keep 4242", "GRID_OFFLOAD=never", "grid-offloader status --mine"):
        assert command in text


def test_what_was_moved_is_followed_ended_and_honestly_not_brought_back():
    text = "\n".join(lines(replace(MOVED, kind=MessageKind.DONE)))
    assert "runs there" in text
    assert "grid-offloader logs -f offload_1_4242" in text
    assert "grid-offloader cancel offload_1_4242" in text
    assert "to bring it back there is no command" in text


@pytest.mark.parametrize("kind", [MessageKind.WITHDRAWN, MessageKind.ROLLED_BACK, MessageKind.LOST])
def test_what_did_not_happen_says_why_in_words(kind):
    text = "\n".join(lines(replace(MOVED, kind=kind, reason=Reason.LINK_LOST, detail="no answer")))
    assert "LINK_LOST" in text
    assert "(no answer)" in text
    assert ("stays on head1" in text) is (kind is not MessageKind.LOST)


@pytest.mark.parametrize("kind", MessageKind)
def test_every_kind_has_words_and_nothing_private_in_any_of_them(kind):
    message = replace(MOVED, kind=kind, reason=Reason.TIMEOUT)
    document = json.dumps(message.to_json(lines(message)))
    assert headline(message) in lines(message)
    assert "secret-plan" not in document
    assert json.loads(document)["kind"] == kind.value


def test_without_a_rule_or_a_value_it_does_not_invent_one():
    assert "rule" not in "".join(lines(replace(MOVED, kind=MessageKind.DONE, why=None)))
    unknown = replace(MESSAGE, why=Why("r", "q", None, 0.8))
    assert "read unknown" in "".join(lines(unknown))
