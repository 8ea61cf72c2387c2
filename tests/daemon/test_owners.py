"""Which events become messages to owners, what is in them, and that telling never holds anything up."""

from dataclasses import replace

import pytest

from offloader.daemon.api.control import KeepRequest, MoveRequest
from offloader.daemon.owners import Owners
from offloader.errors import JournalError
from offloader.jobs.events import EventKind
from offloader.model import JobState, Mode, MoveState, Reason
from offloader.notify.message import MessageKind, Origin

from .controller_world import ALICE, ROOT, USER, World, process, ticks, with_notice


class FakePost:
    def __init__(self):
        self.offered = []

    def offer(self, message):
        self.offered.append(message)

    @property
    def kinds(self):
        return [message.kind for message in self.offered]


@pytest.fixture
def post(world: World) -> FakePost:
    one = FakePost()
    listen(world, one)
    return one


def listen(world: World, post: FakePost, controller=None) -> Owners:
    controller = controller or world.controller
    owners = Owners(controller, post, lambda candidate: Origin(candidate.leader.pid, "/home/alice/out.log"))
    controller.on_tick(owners.ticked)
    controller.on_begun(owners.begun)
    world.owners = owners
    return owners


def ended(world: World, state: MoveState, reason: Reason | None = None):
    """The one move in flight, as the mover would end it."""
    [move] = world.journal.moves(active=True)
    way = {
        MoveState.DONE: (
            *(MoveState.PREFLIGHTED, MoveState.RESERVED, MoveState.QUEUED, MoveState.HELD, MoveState.FROZEN),
            *(MoveState.SAVED, MoveState.GO, MoveState.PROVEN, MoveState.OWNING, MoveState.OWNED, MoveState.ENDED),
        ),
    }.get(state, (MoveState.ROLLING_BACK,))
    for step in (*way, state):
        move = world.journal.transition(move.id, step, t=world.clock.now, reason=reason)
    world.owners.finished(move)
    return move


async def test_the_owner_is_told_once_before_and_once_after(world: World, post: FakePost) -> None:
    with_notice(world)
    await ticks(world, world.controller, 13)
    assert post.kinds == [MessageKind.NOTICE]
    [notice] = post.offered
    assert (notice.uid, notice.pid, notice.target, notice.left_s) == (USER, 100, "gpu1", 60.0)
    assert (notice.why.rule, notice.why.query, notice.why.value, notice.why.threshold) == ("g/cpu", "x", 0.95, 0.8)
    assert notice.origin == Origin(100, "/home/alice/out.log")
    move = ended(world, MoveState.DONE)
    assert post.kinds == [MessageKind.NOTICE, MessageKind.DONE]
    done = post.offered[-1]
    assert (done.move, done.origin, done.why, done.user) == (move.id, notice.origin, notice.why, "alice")


async def test_a_notice_that_is_withdrawn_is_told_with_the_reason(world: World, post: FakePost) -> None:
    with_notice(world)
    await ticks(world, world.controller, 3)
    world.pressure = 0.1
    await ticks(world, world.controller, 3)
    assert post.kinds == [MessageKind.NOTICE, MessageKind.WITHDRAWN]
    assert post.offered[-1].reason is Reason.RULE_FALSE
    assert post.offered[-1].origin == Origin(100, "/home/alice/out.log")


async def test_who_says_keep_is_not_told_that_he_did(world: World, post: FakePost) -> None:
    with_notice(world)
    await ticks(world, world.controller, 3)
    await world.desk.keep(ALICE, KeepRequest(100))
    assert post.kinds == [MessageKind.NOTICE]


async def test_after_a_restart_a_notice_that_goes_on_is_told_once_more(world: World, post: FakePost) -> None:
    """The one before may never have got out."""
    with_notice(world)
    await ticks(world, world.controller, 3)
    again, later = world.make(), FakePost()
    listen(world, later, again)
    await ticks(world, again, 3)
    assert [round(message.left_s) for message in later.offered] == [45]


async def test_a_move_that_was_taken_back_or_lost_is_told(world: World, post: FakePost) -> None:
    world.switches.enable(Mode.AUTO)
    await ticks(world, world.controller, 1)
    ended(world, MoveState.ROLLED_BACK, Reason.LINK_LOST)
    assert [(one.kind, one.reason) for one in post.offered] == [(MessageKind.ROLLED_BACK, Reason.LINK_LOST)]


@pytest.mark.parametrize("reason", [Reason.KEPT, Reason.ORIGINAL_GONE])
async def test_what_the_owner_did_himself_is_no_news_to_him(world: World, post: FakePost, reason: Reason) -> None:
    world.switches.enable(Mode.AUTO)
    await ticks(world, world.controller, 1)
    ended(world, MoveState.ROLLED_BACK, reason)
    assert post.offered == []


@pytest.mark.parametrize(("caller", "kinds"), [(ALICE, []), (ROOT, [MessageKind.DONE])])
async def test_ones_own_move_is_not_told_but_that_of_somebody_else_is(world, post, caller, kinds) -> None:
    await world.desk.move(caller, MoveRequest(100))
    ended(world, MoveState.DONE)
    assert post.kinds == kinds


async def test_that_ones_own_move_lost_the_job_is_told(world: World, post: FakePost) -> None:
    await world.desk.move(ALICE, MoveRequest(100))
    ended(world, MoveState.LOST)
    assert post.kinds == [MessageKind.LOST]


@pytest.mark.parametrize(("state", "kinds"), [(JobState.LOST, [MessageKind.LOST]), (JobState.FAILED, [])])
async def test_a_job_that_is_lost_on_its_worker_is_told(world, post, state, kinds) -> None:
    await world.desk.move(ALICE, MoveRequest(100))
    move = ended(world, MoveState.DONE)
    world.owners.job_ended(replace(world.journal.job(move.job), state=state))
    assert post.kinds == kinds


async def test_every_message_is_an_event_for_everybody_without_anything_private(world, post) -> None:
    with_notice(world)
    await ticks(world, world.controller, 3)
    [message] = world.messages(EventKind.OWNER)
    assert message == "train.py (pid 100, alice) is going to be moved from head to gpu1 in 60 s"
    assert "out.log" not in str(await world.desk.events(ROOT, 0, 100))


async def test_a_full_disk_keeps_nobody_from_moving_or_being_told(world, post, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise JournalError("disk full")

    monkeypatch.setattr(world.journal, "set_fact", full)
    monkeypatch.setattr(world.journal, "add_event", full)
    world.switches.enable(Mode.AUTO)
    await ticks(world, world.controller, 1)
    ended(world, MoveState.DONE)
    assert post.kinds == [MessageKind.DONE]
    assert post.offered[0].origin == Origin()


async def test_two_owners_are_each_told_of_their_own(world: World, post: FakePost) -> None:
    with_notice(world)
    await ticks(world, world.controller, 2)
    await world.desk.keep(ALICE, KeepRequest(100))
    world.processes[200] = process(200, 3.9, uid=USER + 1)
    await ticks(world, world.controller, 3)
    assert [(one.kind, one.uid) for one in post.offered] == [
        (MessageKind.NOTICE, USER),
        (MessageKind.NOTICE, USER + 1),
    ]
