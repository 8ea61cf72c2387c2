"""Owners are told before an automatic move and may object: when the notice is given, served, withdrawn, remembered."""

import json
from dataclasses import replace

import pytest

from offloader.engine.notice import notice_changes
from offloader.engine.plan import plan, started
from offloader.engine.remedies import obstacle
from offloader.engine.schema import EngineState
from offloader.model import DecisionKind, Mode, MoveState, Reason, Toggles

TICK_S = 5.0


class Story:
    """One controller over time: each tick may change the world; what it decides is kept."""

    def __init__(self, make, **policy):
        self.make = make
        self.policy = make.policy(**{"notice_s": 60.0, "initial_cooldown_s": 0.0, **policy})
        self.rules = (make.rule(),)
        self.state = EngineState()
        self.now = 1000.0
        self.world = {"values": {"cpu": 0.9}}

    def tick(self, step=TICK_S, **world):
        self.world |= world
        self.now += step
        before = self.state
        snapshot = self.make.snapshot(self.now, self.world["values"], **self._rest())
        self.state, (decision, *_) = plan(self.rules, before, snapshot, self.policy)
        self.withdrawn = [one.outcome for one in notice_changes(before, self.state)]
        return decision

    def _rest(self):
        return {name: value for name, value in self.world.items() if name != "values"}

    def open(self):
        return [one for one in self.state.notices if one.open]

    def until_move(self, limit=100):
        """Ticks until it is to be moved; returns how long that took."""
        began = self.now
        while self.tick().kind is not DecisionKind.MOVE:
            assert self.now - began < limit * TICK_S, "no move"
        return self.now - began


@pytest.fixture
def story(make):
    return Story(make)


def test_the_first_choice_is_only_announced(story):
    decision = story.tick()
    assert (decision.kind, decision.reason) == (DecisionKind.WOULD_MOVE, Reason.NOTICE)
    assert "60 s" in decision.detail
    assert "keep 500" in decision.detail
    [notice] = story.open()
    assert (notice.pid, notice.uid, notice.target, notice.rule) == (500, 1000, "gpu1", "head/cpu")


def test_it_is_moved_once_the_notice_has_passed_and_not_before(story):
    story.tick()
    assert story.until_move() == 60.0


def test_without_a_notice_period_it_is_moved_at_once(make):
    assert Story(make, notice_s=0.0).tick().kind is DecisionKind.MOVE


@pytest.mark.parametrize(("stall", "kind"), [(0.21, "move"), (0.20, "would_move"), (None, "would_move")])
def test_nobody_is_waited_for_while_everything_waits_for_memory(story, stall, kind):
    """Above 20 %; a stall that is not known is none."""
    assert story.tick(memory_stall=stall).kind.value == kind


def test_a_notice_is_cut_short_when_memory_becomes_short_meanwhile(story):
    story.tick()
    assert story.tick(memory_stall=0.5).kind is DecisionKind.MOVE


def test_pressure_that_goes_away_withdraws_the_notice(story):
    story.tick()
    story.tick(values={"cpu": 0.1})
    assert story.withdrawn == [Reason.RULE_FALSE]
    assert story.open() == []


def test_the_same_process_is_given_no_second_notice_within_its_interval(story, make):
    story.tick()
    story.tick(values={"cpu": 0.1})
    decision = story.tick(values={"cpu": 0.9})
    assert decision.reason is Reason.NO_CANDIDATE
    assert decision.considered[0][1] is Reason.BUDGET_PROCESS
    story.tick(step=600.0)
    while not story.open():
        assert story.tick().kind is not DecisionKind.MOVE
    assert story.until_move() == 60.0


def test_another_job_may_be_announced_instead_when_the_owner_keeps_the_first(story, make):
    first, second = make.candidate(500, cores=3.0), make.candidate(600, cores=2.5)
    story.tick(candidates=(first, second))
    [notice] = story.open()
    kept = {500: first, 600: second}
    kept[notice.pid] = replace(kept[notice.pid], obstacles=(obstacle(Reason.KEPT, "kept"),))
    story.tick(candidates=tuple(kept.values()))
    assert story.withdrawn == [Reason.KEPT]
    assert [one.pid for one in story.open()] == [600 if notice.pid == 500 else 500]


def test_a_choice_that_was_announced_is_kept_to_although_a_better_one_comes_along(story, make):
    story.tick(candidates=(make.candidate(500, age_s=700.0),))
    story.world["candidates"] = (make.candidate(500, age_s=700.0), make.candidate(600, age_s=61.0))
    story.until_move()
    assert [one.pid for one in story.state.notices] == [500]


@pytest.mark.parametrize(
    ("toggles", "outcome"),
    [
        (Toggles(Mode.OBSERVE), Reason.CEILING),
        (Toggles(Mode.APPROVE), Reason.CEILING),
        (Toggles(Mode.AUTO, kill_switch=True), Reason.KILL_SWITCH),
    ],
)
def test_switching_off_withdraws_the_notice(story, toggles, outcome):
    story.tick()
    story.tick(toggles=toggles)
    assert story.withdrawn == [outcome]


@pytest.mark.parametrize("toggles", [Toggles(Mode.OBSERVE), Toggles(Mode.AUTO, kill_switch=True)])
def test_nobody_is_told_of_what_is_not_allowed_to_happen(story, toggles):
    story.tick(toggles=toggles)
    assert story.state.notices == ()


def test_a_job_that_is_gone_ends_its_notice(story):
    story.tick()
    story.tick(candidates=())
    assert story.withdrawn == [Reason.NOT_SIGNIFICANT]


def test_missing_data_neither_moves_nor_withdraws_until_it_resets_the_rule(story, make):
    story.tick()
    unknown = {"cpu": make.reading(problem=Reason.DOWN)}
    for _ in range(11):
        assert story.tick(values=unknown).kind is DecisionKind.REFUSED
        assert len(story.open()) == 1
    story.tick()
    story.tick()
    assert story.open() == []


def test_a_target_that_is_full_for_a_while_does_not_withdraw_it(story, make):
    story.tick()
    story.tick(nodes=(make.head(), make.node(up=False)))
    assert len(story.open()) == 1
    story.world["nodes"] = (make.head(), make.node())
    assert story.until_move() == 55.0


def test_a_notice_of_long_ago_lapses(story, make):
    """Told "in a minute", nobody is moved hours later when a worker comes up at last."""
    story.tick()
    story.world["nodes"] = (make.head(), make.node(up=False))
    while story.open():
        story.tick()
    assert story.withdrawn == [Reason.TIMEOUT]
    assert story.now == 1005.0 + 60 + 300 + TICK_S


def test_time_in_which_the_controller_was_away_does_not_count(story):
    """Nobody could have said keep."""
    story.tick()
    story.state = started(story.now, story.policy, EngineState.from_json(json.loads(json.dumps(story.state.to_json()))))
    decision = story.tick(step=55.0)
    assert decision.kind is not DecisionKind.MOVE
    assert story.open()[0].left_s == 45.0


def test_a_clock_that_is_set_back_does_not_stretch_it_for_ever(story):
    story.tick()
    story.tick(step=-500.0)
    assert story.until_move() == 60.0


def test_a_move_of_the_job_ends_the_notice_quietly_whoever_began_it(story, make):
    story.tick()
    story.tick(moves=(make.move(MoveState.HELD, created_t=story.now),))
    assert story.withdrawn == [Reason.ALREADY_MOVING]
    assert story.open() == []


def test_state_written_by_a_version_without_notices_is_read():
    document = EngineState().to_json()
    del document["notices"]
    assert EngineState.from_json(document) == EngineState()


def test_notices_come_back_from_the_journal_the_same(story):
    story.tick()
    story.tick(values={"cpu": 0.1})
    assert len(story.state.notices) == 1
    assert EngineState.from_json(json.loads(json.dumps(story.state.to_json()))) == story.state
