"""Receipts as the controller writes them: once, when the move shows, whatever happened to it or to Prometheus."""

import asyncio
import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest

from offloader.daemon.api.control import MoveRequest
from offloader.daemon.experience import Experience
from offloader.daemon.receipts import Receipts
from offloader.daemon.snapshot import Observer
from offloader.errors import JournalError
from offloader.jobs.events import EventKind
from offloader.jobs.store import DECIDED
from offloader.jobs.transitions import ORDER
from offloader.model import (
    Attempt,
    AttemptState,
    Completion,
    JobState,
    Mode,
    MoveState,
    Reading,
    Reason,
    Resource,
)
from offloader.moves.incidents import Incident, IncidentKind

from .controller_world import ALICE, RULE, World

CPU, MEMORY = Resource.CPU, Resource.MEMORY
SCRAPE_S = 5.0
DUE_S = 30.0 + SCRAPE_S
LOOK_BACKS = {CPU: 30.0, MEMORY: 0.0}


class Desk:
    """A controller with receipts, over a Prometheus that remembers what it showed when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[float] = []
        self.problem: Reason | None = None
        self.age_s = 1.0
        self.written: list[str] = []
        self.lost: list[tuple] = []
        world.setup = replace(world.setup, look_backs=LOOK_BACKS)
        self.start()

    def start(self) -> None:
        """A life of the controller: nothing but the journal is left of the one before."""
        world = self.world
        self.experience = Experience(world.journal)
        world.controller = world.make()
        observer = Observer(self.measure, world.read, world.journal, corrections=self.experience)
        world.controller.parts = replace(world.controller.parts, observer=observer)
        self.receipts = Receipts(
            world.controller,
            self.experience,
            lambda one: self.written.append(one.move),
            lambda *one: self.lost.append(one),
        )
        world.controller.on_begun(self.receipts.begun)
        world.desk._controller = world.controller
        world.desk._manual._controller = world.controller
        world.switches.enable(Mode.AUTO)

    async def measure(self, rules, roles, *, now, past=False, **_):
        seen = await self.world.measure(rules, roles)
        if not past:
            return seen
        self.asked.append(now)
        value, problem = (None, self.problem) if self.problem is not None else (0.4, None)
        reading = Reading("head", value, self.age_s, problem)
        node = replace(seen.nodes["head"], pressure={CPU: reading, MEMORY: reading})
        return SimpleNamespace(nodes={"head": node}, values={(rule.key, "head"): reading for rule in rules})

    async def moved(self, state: MoveState = MoveState.DONE, **fields):
        """The rule moves the one job there is; the move ends so at once."""
        await self.world.controller.tick()
        return self.ended(state, **fields)

    def ended(self, state: MoveState = MoveState.DONE, **fields):
        [move] = self.world.journal.moves(active=True)
        way = ORDER[1:] if state is MoveState.DONE else (*ORDER[1:6], MoveState.ROLLING_BACK, state)
        for step in way:
            move = self.world.journal.transition(move.id, step, t=self.world.clock.now, **fields)
        self.receipts.finished()
        return move

    async def later(self, seconds: float) -> float:
        self.world.clock.now += seconds
        return await self.receipts.write()

    def receipt(self, move):
        return self.world.journal.receipt(move.id)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


async def test_what_was_known_at_the_decision_is_kept_with_the_move(desk: Desk) -> None:
    move = await desk.moved()
    kept = desk.world.journal.fact(move.id, DECIDED)
    assert kept["before"]["t"] == desk.world.clock.now
    assert kept["before"]["readings"]["cpu"]["value"] == 0.95
    assert kept["before"]["readings"]["cpu"]["age_s"] == 1.0
    assert kept["before"]["rule"]["value"] == 0.95
    assert (kept["class"], kept["threshold"], kept["relief"]) == ("training", 0.8, 0.65)
    assert kept["estimate"]["relieves"] == {"cpu": 0.5, "memory": 1 / 32}
    assert kept["estimate"]["age_s"] == 300.0


async def test_the_receipt_is_written_once_the_move_shows_and_not_before(desk: Desk) -> None:
    """Commit, the longest look-back, a scrape."""
    move = await desk.moved(downtime_s=0.75)
    committed = desk.world.clock.now
    assert await desk.later(0) == DUE_S
    assert await desk.later(DUE_S - 1) == pytest.approx(1.0)
    assert desk.receipt(move) is None
    await desk.later(1)
    found = desk.receipt(move)
    assert desk.asked == [committed + DUE_S] == [found.after.t]
    assert found.after.readings[CPU].value == found.after.rule.value == 0.4
    assert found.downtime_s.value == 0.75
    assert desk.written == [move.id]
    [event] = [one for one in desk.world.journal.events() if "receipt" in one.data]
    assert (event.kind, event.subject) == (EventKind.MOVE, move.id)
    assert event.message.startswith(f"receipt of {move.id} (restart, done): stood still 0.8 s")
    assert "cpu 95% -> 40%" in event.message
    await desk.later(100)
    assert (len(desk.asked), desk.written) == (1, [move.id])


async def test_a_controller_that_was_away_completes_it_with_what_prometheus_showed_then(desk: Desk) -> None:
    move = await desk.moved()
    committed = desk.world.clock.now
    desk.start()
    await desk.later(5 * 86400)
    assert desk.asked == [committed + DUE_S]
    assert desk.receipt(move).after.readings[CPU].value == 0.4


async def test_while_prometheus_does_not_answer_it_waits_and_loses_nothing(desk: Desk) -> None:
    move = await desk.moved()
    desk.problem = Reason.QUERY_FAILED
    assert [await desk.later(60) for _ in range(4)] == [15.0, 15.0, 60.0, 60.0]
    assert desk.receipt(move) is None
    desk.problem = None
    await desk.later(60)
    assert desk.receipt(move).after.readings[CPU].value == 0.4


async def test_one_that_never_answers_leaves_it_unknown_with_the_reason(desk: Desk) -> None:
    move = await desk.moved()
    desk.problem = Reason.QUERY_FAILED
    await desk.later(2 * 3600)
    found = desk.receipt(move).after
    assert {one.problem for one in (*found.readings.values(), found.rule)} == {Reason.QUERY_FAILED}


async def test_a_sample_that_was_late_is_looked_for_a_few_scrapes_longer(desk: Desk) -> None:
    move = await desk.moved()
    committed, desk.age_s = desk.world.clock.now, 10.0
    assert await desk.later(DUE_S) == SCRAPE_S
    await desk.later(SCRAPE_S)
    assert desk.asked == [committed + DUE_S, committed + DUE_S, committed + DUE_S + SCRAPE_S]
    assert desk.receipt(move).after.t == committed + DUE_S + SCRAPE_S


@pytest.mark.parametrize(("age_s", "problem", "told"), [(90.0, None, "LOOK_BACK"), (1.0, Reason.DOWN, "DOWN")])
async def test_what_cannot_be_known_then_stays_unknown(desk: Desk, age_s, problem, told) -> None:
    move = await desk.moved()
    desk.age_s, desk.problem = age_s, problem
    await desk.later(300)
    assert len(desk.asked) == 4
    assert desk.receipt(move).after.readings[CPU].problem == told


async def test_where_nothing_left_the_source_nothing_is_asked_and_nothing_waited_for(desk: Desk) -> None:
    move = await desk.moved(MoveState.ROLLED_BACK, reason=Reason.LINK_LOST)
    await desk.later(0)
    found = desk.receipt(move)
    assert (found.outcome, found.after, desk.asked) == (MoveState.ROLLED_BACK, None, [])
    assert found.work_lost_s.value == 0.0


async def test_a_rule_that_is_gone_by_then_has_no_value(desk: Desk) -> None:
    move = await desk.moved()
    desk.world.controller.setup = replace(desk.world.setup, rules=())
    await desk.later(300)
    found = desk.receipt(move)
    assert found.rule == RULE.key
    assert "not loaded any more" in found.after.rule.detail
    assert found.after.readings[CPU].value == 0.4


async def test_where_no_recording_rule_is_known_nothing_is_taken_for_an_outcome(desk: Desk) -> None:
    move = await desk.moved()
    desk.world.controller.setup = replace(desk.world.setup, look_backs={})
    await desk.later(300)
    after = desk.receipt(move).after
    assert {one.problem for one in (*after.readings.values(), after.rule)} == {Reason.LOOK_BACK}


async def test_a_move_that_somebody_asked_for_has_one_too(desk: Desk) -> None:
    desk.world.switches.enable(Mode.OBSERVE)
    await desk.world.desk.move(ALICE, MoveRequest(100))
    move = desk.ended()
    await desk.later(DUE_S)
    found = desk.receipt(move)
    assert (found.rule, found.decided.before.rule, found.after.rule) == (None, None, None)
    assert found.decided.before.readings[CPU].value == 0.95
    assert found.after.readings[CPU].value == 0.4


async def test_other_moves_off_the_node_that_show_as_well_are_named(desk: Desk) -> None:
    first = await desk.moved()
    desk.world.clock.now += 20
    desk.world.processes = {200: replace(desk.world.processes[100], identity=replace(first.identity, pid=200))}
    desk.world.controller.look_again()
    second = await desk.moved()
    desk.world.clock.now += 10
    desk.world.processes = {}
    await desk.later(600)
    assert desk.receipt(first).beside == (second.id,)
    assert desk.receipt(second).beside == (first.id,)


async def test_a_full_disk_delays_a_receipt_and_one_that_cannot_be_read_holds_up_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = await desk.moved()

    def full(*_: object) -> None:
        raise JournalError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(desk.world.journal, "add_receipt", full)
        await desk.later(60)
    assert (desk.receipt(move), desk.written) == (None, [])
    desk.world.journal.set_fact(move.id, DECIDED, {"odd": 1})
    desk.world.processes = {200: replace(desk.world.processes[100], identity=replace(move.identity, pid=200))}
    desk.world.controller.look_again()
    desk.world.clock.now += 60
    other = await desk.moved()
    await desk.later(60)
    assert desk.written == [other.id]


async def test_what_came_out_corrects_what_is_expected_next(desk: Desk) -> None:
    """Five restarts that stood still for a fifth of the estimate."""
    for pid in range(300, 305):
        process = desk.world.processes.popitem()[1]
        desk.world.processes[pid] = replace(process, identity=replace(process.identity, pid=pid))
        desk.world.controller.look_again()
        desk.world.clock.now += 600
        await desk.moved(downtime_s=2.0)
        await desk.later(60)
    assert len(desk.written) == 5
    await desk.world.controller.tick()
    found = desk.world.controller.view.snapshot.corrections
    assert {one.downtime for one in found.values()} == {0.4}
    desk.start()
    assert desk.experience() == found, "a restart forgets nothing"


async def test_it_writes_by_itself_as_soon_as_it_can(desk: Desk) -> None:
    """The world's clock does not wait, so that everything is due at once."""
    running = asyncio.create_task(desk.receipts.run())
    try:
        move = await desk.moved(MoveState.ROLLED_BACK)
        async with asyncio.timeout(20):
            while desk.receipt(move) is None:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


# What people see


async def shown(desk: Desk, move) -> dict:
    return (await desk.world.desk.show(ALICE, move.id))["receipt"]


async def test_what_is_known_of_it_is_shown_at_once_and_the_rest_when_it_is(desk: Desk) -> None:
    await desk.world.controller.tick()
    [under_way] = desk.world.journal.moves(active=True)
    assert await shown(desk, under_way) is None
    move = desk.ended(downtime_s=0.75)
    early = await shown(desk, move)
    assert (early["final"], early["due_t"]) == (False, desk.world.clock.now + DUE_S)
    assert early["downtime_s"] == {"value": 0.75, "expected": 5.0, "at_most": False, "note": ""}
    assert early["pressure"]["resources"]["cpu"]["after"]["problem"] == "LOOK_BACK"
    assert early["pressure"]["resources"]["cpu"]["relieved"] is None
    await desk.later(DUE_S)
    late = await shown(desk, move)
    assert (late["final"], late["due_t"]) == (True, None)
    cpu = late["pressure"]["resources"]["cpu"]
    assert (cpu["before"]["value"], cpu["after"]["value"]) == (0.95, 0.4)
    assert (cpu["relieved"], cpu["expected"]) == (0.55, 0.5)
    assert late["rule"]["key"] == RULE.key
    assert late["estimated_from"]["age_s"] == 300.0
    assert [step["state"] for step in late["steps"]] == [state.value for state in ORDER[:-1]]


async def test_what_the_job_lost_since_is_added_to_it(desk: Desk) -> None:
    move = await desk.moved()
    await desk.later(DUE_S)
    assert (await shown(desk, move))["later_losses"] == []
    store, now = desk.world.journal, desk.world.clock.now
    store.save_attempt(
        Attempt(move.job, 1, "gpu1", "ray", None, 7, AttemptState.ENDED, now, now + 80, Completion(signal=9))
    )
    again = Attempt(move.job, 2, "gpu2", "ray", None, 8, AttemptState.RUNNING, now + 90, resumed_t=now + 75)
    store.save_attempt(again)
    [loss] = (await shown(desk, move))["later_losses"]
    assert (loss["node"], loss["again_on"], loss["since"], loss["work_lost_s"]["value"]) == (
        "gpu1",
        "gpu2",
        "checkpoint",
        5.0,
    )
    store.save_job(replace(store.job(move.job), state=JobState.LOST))
    assert desk.receipt(move).steps, "what was written stays as it is"


@pytest.mark.parametrize(("kind", "again"), [(IncidentKind.RELAUNCHED, "gpu2"), (IncidentKind.LOST, None)])
async def test_a_loss_is_told_when_it_is_known_and_other_incidents_are_not_taken_for_one(
    desk: Desk, kind, again
) -> None:
    move = await desk.moved()
    store, now = desk.world.journal, desk.world.clock.now
    vanished = Attempt(move.job, 1, "gpu1", "ray", None, 7, AttemptState.ENDED, now, now + 80)
    store.save_attempt(vanished)
    if again is not None:
        store.save_attempt(Attempt(move.job, 2, again, "ray", None, 8, AttemptState.RUNNING, now + 90))
    else:
        store.save_job(replace(store.job(move.job), state=JobState.LOST))
    desk.receipts.incident(Incident(IncidentKind.OUT_OF_REACH, move.job, move.id, "no answer"))
    assert desk.lost == []
    desk.receipts.incident(Incident(kind, move.job, move.id, "what happened"))
    [(of, loss)] = desk.lost
    assert (of.id, loss.work_lost_s.value, loss.again) == (move.id, 80.0, again)
    [event] = [one for one in store.events() if "later_loss" in one.data]
    assert event.message.startswith(f"{move.id}: its attempt 1 on gpu1 lost at most 80.0 s of work")


async def test_a_move_of_a_version_without_receipts_has_none(desk: Desk) -> None:
    desk.world.controller._begun.clear()
    move = await desk.moved()
    await desk.later(3600)
    assert await shown(desk, move) is None
    assert desk.written == []


async def test_ages_go_on_while_a_reading_of_processes_is_used_again(desk: Desk) -> None:
    """Reading them all is dear, so it is not done at every tick; what a restart would lose is known all the same."""
    world = desk.world
    world.switches.enable(Mode.ADVISE)
    await world.controller.tick()
    looks = world.detailed
    world.controller._read_again = world.clock.now + 1000
    world.clock.now += 25
    await world.controller.tick()
    assert world.detailed == looks
    [candidate] = world.controller.view.snapshot.candidates
    assert (candidate.age_s, candidate.leader.age_s, candidate.members[0].age_s) == (325.0, 325.0, 325.0)
