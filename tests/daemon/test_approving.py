"""Answers to what rules ask: who may give them, what follows at once, and what stays of it in journal and documents."""

from dataclasses import replace

import pytest

from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import AutoRequest, KeepRequest
from offloader.errors import NotFound, NotPermitted, Refused
from offloader.jobs.events import EventKind
from offloader.model import Mode, MoveState, Reason

from .controller_world import ALICE, BOB, OWN, ROOT, World, ticks, with_notice


async def asked(world: World) -> dict:
    """The one proposal, after a tick in mode approve."""
    world.switches.enable(Mode.APPROVE)
    await ticks(world, world.controller, 1)
    [one] = await world.desk.proposals(ALICE)
    return one


async def test_it_waits_with_its_reasons_where_people_look(world: World) -> None:
    held = await asked(world)
    assert (held["pid"], held["target"], held["reason"], held["loses_s"]) == (100, "gpu1", "APPROVAL", 300.0)
    assert "g/cpu reads 95%, its threshold is 80%; it would relieve 50% cpu" in held["text"]
    status = await world.desk.status(ALICE)
    assert [one["id"] for one in status["proposals"]] == [held["id"]]
    assert (status["next"]["reason"], status["next"]["command"]) == ("APPROVAL", "grid-offloader approve 100")
    assert any(one["command"] == "grid-offloader approve" for one in status["problems"])
    assert [one["id"] for one in (await world.desk.mine(ALICE))["proposals"]] == [held["id"]]
    assert (await world.desk.mine(BOB))["proposals"] == []
    assert list(world.mover.plans) == []
    assert world.messages(EventKind.PROPOSAL)[-1].startswith("waits for an answer: move train.py (pid 100, alice)")


async def test_whoever_agrees_is_not_told_what_was_so_before(world: World) -> None:
    """The check takes longer than the answer may; what the one before said is that somebody has to agree."""
    held = await asked(world)
    world.nudge.late = True
    answer = await world.desk.answer(ALICE, held["id"], agreed=True)
    assert (answer["move"], answer["held"]) == (None, {"reason": None, "detail": "the next check is still to come"})


@pytest.mark.parametrize("caller", [ROOT, ALICE])
async def test_who_agrees_sees_the_move_begin_and_is_named(world: World, caller) -> None:
    held = await asked(world)
    answer = await world.desk.answer(caller, held["id"], agreed=True)
    assert (answer["move"]["state"], answer["held"]) == ("planned", None)
    [plan] = world.mover.plans
    assert (plan.automatic, plan.rule, plan.approved_by) == (True, "g/cpu", caller.uid)
    [move] = world.journal.moves(active=True)
    assert move.approved_by == caller.uid
    assert (await world.desk.show(ROOT, move.id))["approved_by"] == caller.uid
    again = await world.desk.answer(caller, held["id"], agreed=True)
    assert again["move"]["id"] == move.id, "said twice, done once"
    assert len(world.mover.plans) == 1
    with pytest.raises(NotFound):
        await world.desk.answer(caller, held["id"], agreed=True)


async def test_no_question_is_left_once_its_move_is_under_way(world: World) -> None:
    """At once, and not only when the next tick has seen it: people would answer a question that is none any more."""
    held = await asked(world)
    await world.desk.answer(ALICE, held["id"], agreed=True)
    assert len(world.mover.plans) == 1
    status = await world.desk.status(ALICE)
    listed = (await world.desk.proposals(ALICE), status["proposals"], (await world.desk.mine(ALICE))["proposals"])
    assert listed == ([], [], [])
    assert not any(one["command"] == "grid-offloader approve" for one in status["problems"])
    assert [one["pid"] for one in status["moves_in_flight"]] == [held["pid"]]
    with pytest.raises(NotFound, match="under way"):
        await world.desk.answer(ALICE, held["id"], agreed=False)


async def test_what_was_agreed_to_and_cannot_begin_yet_is_still_listed(world: World) -> None:
    with_notice(world)
    held = await asked(world)
    await world.desk.answer(ROOT, held["id"], agreed=True)
    assert [one["approved_by"] for one in await world.desk.proposals(ALICE)] == [0]
    assert [one["approved_by"] for one in (await world.desk.status(ALICE))["proposals"]] == [0]


async def test_nobody_else_may_answer(world: World) -> None:
    held = await asked(world)
    for agreed in (True, False):
        with pytest.raises(NotPermitted):
            await world.desk.answer(BOB, held["id"], agreed=agreed)
    assert list(world.mover.plans) == []


async def test_what_is_its_owners_to_decide_no_admin_decides(world: World) -> None:
    world.processes[100] = replace(world.processes[100], wish=None)
    world.desk = world.desk_of(Permissions(OWN, admin_gid=77))
    admin = Caller(1, BOB.uid, 77, frozenset())
    held = await asked(world)
    assert (held["reason"], held["owners_only"]) == ("NOT_RESTART_SAFE", True)
    assert "nobody declared" in held["detail"]
    assert (await world.desk.status(BOB))["proposals"][0]["detail"] == ""
    with pytest.raises(NotPermitted):
        await world.desk.answer(admin, held["id"], agreed=True)
    assert (await world.desk.answer(ALICE, held["id"], agreed=True))["move"] is not None


async def test_a_no_is_told_and_remembered(world: World) -> None:
    held = await asked(world)
    answer = await world.desk.answer(ALICE, held["id"], agreed=False)
    assert (answer["outcome"], answer["move"]) == ("DECLINED", None)
    await ticks(world, world.make(), 3)
    assert await world.desk.proposals(ALICE) == []
    assert list(world.mover.plans) == []
    assert any("says no" in message for message in world.messages(EventKind.PROPOSAL))


async def test_an_answer_that_cannot_be_acted_on_is_refused(world: World) -> None:
    held = await asked(world)
    world.switches.kill_switch_path.touch()
    with pytest.raises(Refused) as caught:
        await world.desk.answer(ROOT, held["id"], agreed=True)
    assert caught.value.reason is Reason.KILL_SWITCH
    world.switches.kill_switch_path.unlink()
    world.switches.disable()
    with pytest.raises(Refused) as caught:
        await world.desk.answer(ROOT, held["id"], agreed=True)
    assert caught.value.reason is Reason.CEILING
    assert list(world.mover.plans) == []


async def test_what_its_owner_keeps_nobody_can_agree_to(world: World) -> None:
    held = await asked(world)
    await world.desk.keep(ALICE, KeepRequest(100))
    with pytest.raises(NotFound):
        await world.desk.answer(ROOT, held["id"], agreed=True)
    assert list(world.mover.plans) == []


async def test_processes_are_read_again_before_a_yes_counts(world: World) -> None:
    """What stands in the way now is told, and it is moved once that is gone."""
    held = await asked(world)
    running = world.processes[100]
    world.processes[100] = replace(running, state="T")
    answer = await world.desk.answer(ROOT, held["id"], agreed=True)
    assert (answer["move"], answer["held"]["reason"]) == (None, "STOPPED")
    world.processes[100] = running
    world.controller.look_again()
    await ticks(world, world.controller, 1)
    assert len(world.mover.plans) == 1


async def test_why_nothing_has_begun_yet_is_part_of_the_answer(world: World) -> None:
    with_notice(world)
    held = await asked(world)
    answer = await world.desk.answer(ROOT, held["id"], agreed=True)
    assert (answer["move"], answer["held"]["reason"]) == (None, "NOTICE")
    await ticks(world, world.controller, 12)
    assert [plan.approved_by for plan in world.mover.plans] == [0]


async def test_a_yes_survives_a_restart(world: World) -> None:
    with_notice(world)
    held = await asked(world)
    await world.desk.answer(ROOT, held["id"], agreed=True)
    again = world.make()
    assert again.proposal(held["id"]).approved
    await ticks(world, again, 14)
    assert [plan.approved_by for plan in world.mover.plans] == [0]


async def test_the_ceiling_that_rolls_back_automatic_moves_spares_what_was_agreed_to(world: World) -> None:
    held = await asked(world)
    await world.desk.answer(ROOT, held["id"], agreed=True)
    [move] = world.journal.moves(active=True)
    assert world.switches.forbidden(move) is None
    await world.desk.auto(ROOT, AutoRequest(enabled=True, mode=Mode.APPROVE))
    assert world.mover.orders == ["disable approve"]
    assert world.switches.forbidden(move) is None
    world.switches.enable(Mode.ADVISE)
    assert world.switches.forbidden(move)[0] is Reason.DISABLED


async def test_afterwards_its_story_says_who_agreed(world: World) -> None:
    held = await asked(world)
    await world.desk.answer(ROOT, held["id"], agreed=True)
    [move] = world.journal.moves(active=True)
    world.journal.transition(move.id, MoveState.ROLLING_BACK, t=world.clock.now, reason=Reason.LINK_LOST)
    world.journal.transition(move.id, MoveState.ROLLED_BACK, t=world.clock.now)
    told = await world.desk.why(ALICE, move.id)
    assert "for rule g/cpu, and root agreed" in told["sentence"]
