"""One tick with everything real but Prometheus, /proc and the mover: what is acted on, what only recorded."""

import pytest

from offloader.daemon.api.control import AutoRequest, MoveRequest
from offloader.errors import JournalError, NotFound, NotPermitted, Refused
from offloader.jobs.events import EventKind
from offloader.model import Capacity, Mode, MoveState, Reason, Resource

from .controller_world import ALICE, BOB, ROOT, USER, World, ticks, with_notice


async def test_in_mode_auto_the_choice_is_given_to_the_mover(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [asked] = world.mover.plans
    assert (asked.candidate.leader.pid, asked.target, asked.automatic) == (100, "gpu1", True)
    assert asked.available == Capacity(7.0, 28 << 30)
    assert list(world.recorder.plans) == []
    assert any("offload_1700000000_100 begins" in message for message in world.messages(EventKind.MOVE))


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ADVISE, Mode.APPROVE])
async def test_below_auto_it_is_only_recorded(world: World, mode: Mode) -> None:
    world.switches.enable(mode)
    await world.controller.tick()
    assert list(world.mover.plans) == []
    assert [asked.target for asked in world.recorder.plans] == ["gpu1"]


async def test_processes_are_read_in_detail_only_when_a_rule_fired(world: World) -> None:
    world.pressure = 0.3
    await world.controller.tick()
    assert world.detailed == 0
    world.pressure = 0.95
    await world.controller.tick()
    assert world.detailed == 1


async def test_a_switch_thrown_between_decision_and_act_is_obeyed(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    world.controller.on_tick(lambda _: world.switches.disable())
    await world.controller.tick()
    assert list(world.mover.plans) == []


async def test_the_kill_switch_stops_what_is_in_flight_once(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    world.switches.kill_switch_path.touch()
    await world.controller.tick()
    await world.controller.tick()
    assert [order.split()[0] for order in world.mover.orders] == ["stop_all"]
    assert list(world.mover.plans) == []
    world.switches.kill_switch_path.unlink()
    await world.controller.tick()
    assert world.messages(EventKind.TOGGLE)[-1] == "the kill-switch is off"


async def test_a_start_that_fails_is_told_and_the_next_tick_goes_on(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    for failure in (Refused(Reason.TARGET_FULL, "full"), JournalError("disk full")):
        world.mover.failure = failure
        await world.controller.tick()
    assert [message for message in world.messages(EventKind.DECISION) if "not started" in message] == [
        "g/cpu: not started: full",
        "g/cpu: not started: disk full",
    ]
    world.mover.failure = None
    await world.controller.tick()
    assert len(world.mover.plans) == 1


async def test_after_a_move_the_rule_cools_down_also_across_a_restart(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [move] = world.journal.moves(active=True)
    world.journal.transition(move.id, MoveState.ROLLING_BACK, t=world.clock.now, reason=Reason.LINK_LOST)
    ended = world.journal.transition(move.id, MoveState.ROLLED_BACK, t=world.clock.now)
    world.controller.finished(ended)
    again = world.make()
    world.clock.now += 1.0
    await again.tick()
    assert again.view is not None
    assert again.view.decisions[0].reason in (Reason.COOLDOWN, Reason.LOOK_BACK)
    assert len(world.mover.plans) == 1


async def test_a_frozen_job_still_counts_as_load(world: World) -> None:
    """Freezing must not look like relief."""
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [move] = world.journal.moves(active=True)
    for state in (MoveState.PREFLIGHTED, MoveState.RESERVED, MoveState.QUEUED, MoveState.HELD, MoveState.FROZEN):
        world.journal.transition(move.id, state, t=world.clock.now)
    world.pressure = 0.45
    await world.controller.tick()
    assert world.controller.view is not None
    assert world.controller.view.snapshot.frozen_load == {Resource.CPU: 0.5}
    assert world.controller.view.decisions[0].value == pytest.approx(0.95)


async def test_disabling_rolls_back_even_when_the_journal_is_full(world: World, monkeypatch) -> None:
    await world.desk.auto(ROOT, AutoRequest(enabled=True))

    def full(*_: object) -> None:
        raise JournalError("disk full")

    monkeypatch.setattr(world.journal, "set_setting", full)
    with pytest.raises(JournalError):
        await world.desk.auto(ROOT, AutoRequest(enabled=False))
    assert world.mover.orders == ["disable observe"]
    assert world.switches.read().ceiling is Mode.OBSERVE


async def test_a_lower_ceiling_rolls_automatic_moves_back_too(world: World) -> None:
    await world.desk.auto(ROOT, AutoRequest(enabled=True, mode=Mode.ADVISE))
    assert world.mover.orders == ["disable advise"]


async def test_only_admins_switch(world: World) -> None:
    with pytest.raises(NotPermitted):
        await world.desk.auto(ALICE, AutoRequest(enabled=True))
    with pytest.raises(NotPermitted):
        world.desk.may_reload(ALICE)
    assert world.switches.read().ceiling is Mode.OBSERVE


async def test_the_owner_moves_his_own_and_nobody_else_does(world: World) -> None:
    with pytest.raises(NotPermitted) as caught:
        await world.desk.move(BOB, MoveRequest(100))
    assert caught.value.reason is Reason.NOT_YOURS
    document = await world.desk.move(ALICE, MoveRequest(100, "gpu1"))
    assert document["state"] == "planned"
    assert document["loses_s"] == 300.0
    [asked] = world.mover.plans
    assert (asked.automatic, asked.requested_by, asked.rule) == (False, USER, None)
    with pytest.raises(Refused) as twice:
        await world.desk.move(ALICE, MoveRequest(100))
    assert twice.value.reason is Reason.ALREADY_MOVING


async def test_a_dry_run_is_the_whole_plan_and_names_only_names(world: World) -> None:
    """Members, target and why, strategy and loss, what travels and what stays; nothing is journalled or moved."""
    plan = await world.desk.move(ALICE, MoveRequest(100, dry_run=True))
    assert (plan["would_move"], plan["obstacles"], plan["notes"]) == (True, [], ["a note"])
    assert (plan["target"], plan["target_why"]) == ("gpu1", "the only one that can take it")
    assert [one["pid"] for one in plan["members"]] == [100]
    assert (plan["strategy"], plan["loses_s"]) == ("restart", 300.0)
    assert plan["targets"][0]["predicted"]["cpu"] > 0
    assert plan["environment"] == {"travels": ["HOME", "KEY"], "stays": ["SSH_TTY"], "added": []}
    assert plan["streams"]["stdin"] == {"source": "tty", "target": "null"}
    assert plan["streams"]["stderr"] == {"source": "closed", "target": None}
    assert "secret-value" not in str(plan)
    assert "/dev/pts/7" not in str(plan)
    assert not world.mover.plans
    assert world.journal.moves() == ()


async def test_a_dry_run_gathers_what_placement_and_preflight_have_against_it(world: World) -> None:
    plan = await world.desk.move(ALICE, MoveRequest(100, "gpu1", dry_run=True, env_vars={"A": "b"}))
    assert (plan["would_move"], plan["target_why"]) == (False, "you chose it")
    assert [one["reason"] for one in plan["obstacles"]] == ["NO_FILE"]
    assert plan["obstacles"][0]["remedy"] == "share it"
    assert plan["environment"]["added"] == ["A"]
    head = await world.desk.move(ALICE, MoveRequest(100, "head", dry_run=True))
    assert head["obstacles"][0]["reason"] == "TARGET_IS_HEAD"
    nowhere = await world.desk.move(ALICE, MoveRequest(100, "nowhere", dry_run=True))
    assert ([one["reason"] for one in nowhere["obstacles"]], nowhere["target"]) == (["TARGET_UNKNOWN"], None)


async def test_a_dry_run_of_what_is_somebody_elses_shows_nothing(world: World) -> None:
    with pytest.raises(NotPermitted):
        await world.desk.move(BOB, MoveRequest(100, dry_run=True))


async def test_what_is_private_stays_with_owner_and_admins(world: World) -> None:
    move = await world.desk.move(ALICE, MoveRequest(100))
    await world.controller.tick()
    seen = {
        caller.uid: str([await world.desk.scan(caller, (), True), await world.desk.status(caller)])
        for caller in (ROOT, ALICE, BOB)
    }
    assert "secret-plan" in seen[0]
    assert "secret-plan" in seen[USER]
    assert "secret-plan" not in seen[BOB.uid]
    assert "considered" not in str(await world.desk.events(BOB, 0, 100))
    for forbidden in (world.desk.logs(BOB, move["id"], 0, follow=False), world.desk.cancel(BOB, move["id"])):
        with pytest.raises(NotPermitted):
            await forbidden
    assert world.mover.orders == []
    await world.desk.cancel(ALICE, move["id"])
    assert world.mover.orders == [f"cancel {move['id']} {USER}"]


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    for asked in (world.desk.show(ROOT, "offload_1_2"), world.desk.cancel(ROOT, "offload_1_2")):
        with pytest.raises(NotFound):
            await asked
    with pytest.raises(NotFound):
        await world.desk.scan(ROOT, ("nowhere",), False)


async def test_a_recorder_moves_nothing_and_says_so(world: World) -> None:
    with pytest.raises(NotFound):
        await world.recorder.cancel("offload_1_2", by_uid=0)
    with pytest.raises(NotFound):
        world.recorder.logs("offload_1_2", offset=0, follow=False)


async def test_a_notice_is_shown_to_everybody_and_goes_on_after_a_restart(world: World) -> None:
    with_notice(world)
    await ticks(world, world.controller, 7)
    status = await world.desk.status(BOB)
    [notice] = status["notices"]
    assert (notice["pid"], notice["target"], notice["left_s"]) == (100, "gpu1", 30.0)
    assert (status["next"]["kind"], status["next"]["reason"]) == ("would_move", "NOTICE")
    assert "keep 100" in status["next"]["text"]
    again = world.make()
    await ticks(world, again, 5)
    assert list(world.mover.plans) == []
    await ticks(world, again, 1)
    assert [asked.candidate.leader.pid for asked in world.mover.plans] == [100]
