"""Moves that rules ask about: what is proposed, what a yes covers, and that all is decided anew before it counts."""

import json
from dataclasses import replace

import pytest

from offloader.engine.approval import answered, proposal_changes
from offloader.engine.explain import explain
from offloader.engine.plan import plan
from offloader.engine.remedies import obstacle
from offloader.engine.schema import EngineState
from offloader.model import DecisionKind, Mode, MoveState, Reading, Reason, Resource, StrategyName, Toggles

TICK_S = 5.0
OWNER, ADMIN = 1000, 0
MOVE, WOULD = DecisionKind.MOVE, DecisionKind.WOULD_MOVE


class Story:
    """One controller over time: each tick may change the world, people answer in between."""

    def __init__(self, make, *rules, mode=Mode.APPROVE, available=(StrategyName.RESTART,), **policy):
        self.make = make
        self.policy = make.policy(**{"notice_s": 0.0, "initial_cooldown_s": 0.0, "approval_s": 900.0, **policy})
        self.rules = rules or (make.rule(),)
        self.available = available
        self.state = EngineState()
        self.now = 1000.0
        self.world = {"values": {"cpu": 0.9}, "toggles": Toggles(mode)}

    def tick(self, step=TICK_S, **world):
        self.world |= world
        self.now += step
        before = self.state
        rest = {name: value for name, value in self.world.items() if name != "values"}
        self.snapshot = self.make.snapshot(self.now, self.world["values"], **rest)
        self.state, self.decisions = plan(self.rules, before, self.snapshot, self.policy, available=self.available)
        self.ended = [one.outcome for one in proposal_changes(before, self.state)[1]]
        return self.decisions[0]

    def open(self):
        return [one for one in self.state.proposals if one.open]

    def answer(self, agreed=True, by_uid=ADMIN):
        [held] = self.open()
        self.state = answered(self.state, held, self.policy, by_uid=by_uid, agreed=agreed, now=self.now)
        return held


@pytest.fixture
def story(make):
    return Story(make)


def test_what_a_rule_in_approve_chooses_is_proposed_and_waits(story):
    decision = story.tick()
    assert (decision.kind, decision.reason) == (WOULD, Reason.APPROVAL)
    assert "grid-offloader approve 500" in decision.detail
    [held] = story.open()
    assert (held.pid, held.target, held.strategy, held.rule) == (500, "gpu1", StrategyName.RESTART, "head/cpu")
    assert (held.value, held.threshold, held.relieves) == (0.9, 0.8, {Resource.CPU: 0.25})
    for _ in range(20):
        assert story.tick().kind is WOULD
    assert [one.id for one in story.open()] == [held.id]


def test_a_yes_carries_it_out_at_the_next_tick_and_says_whose_word_it_was(story):
    story.tick()
    story.answer(by_uid=7)
    decision = story.tick()
    assert (decision.kind, decision.target, decision.approved_by) == (MOVE, "gpu1", 7)
    story.tick(moves=(story.make.move(MoveState.HELD, created_t=story.now),))
    assert story.ended == [Reason.ALREADY_MOVING]


def test_a_no_is_heard_and_another_job_may_be_proposed(story, make):
    story.tick(candidates=(make.candidate(500), make.candidate(600)))
    declined = story.answer(agreed=False)
    story.tick()
    [other] = story.open()
    assert other.pid != declined.pid
    refused = {pid: reason for pid, reason, _ in story.decisions[0].considered}
    assert refused[declined.pid] is Reason.DECLINED
    story.tick(step=700.0)
    story.tick()
    assert declined.pid not in {pid for pid, reason, _ in story.decisions[0].considered if reason is Reason.DECLINED}


def test_without_an_answer_it_lapses_and_is_asked_afresh(story):
    story.tick()
    [first] = story.open()
    while story.open() and story.open()[0].id == first.id:
        story.tick()
    assert story.ended == [Reason.TIMEOUT]
    assert story.now == first.made_t + 900 + TICK_S
    story.tick()
    assert story.open()[0].id != first.id


@pytest.mark.parametrize(
    ("world", "outcome"),
    [
        ({"toggles": Toggles(Mode.ADVISE)}, Reason.CEILING),
        ({"toggles": Toggles(Mode.AUTO, kill_switch=True)}, Reason.KILL_SWITCH),
        ({"values": {"cpu": 0.1}}, Reason.RULE_FALSE),
        ({"candidates": ()}, Reason.NOT_SIGNIFICANT),
    ],
)
@pytest.mark.parametrize("agreed", [False, True])
def test_it_is_withdrawn_when_its_ground_is_gone_agreed_to_or_not(story, world, outcome, agreed):
    story.tick()
    if agreed:
        story.answer()
    assert story.tick(**world).kind is not MOVE
    assert story.ended == [outcome]


def test_its_owners_keep_withdraws_it(story, make):
    story.tick()
    story.answer()
    kept = make.candidate(obstacles=(obstacle(Reason.KEPT, "kept"),))
    assert story.tick(candidates=(kept,)).kind is not MOVE
    assert story.ended == [Reason.KEPT]


@pytest.mark.parametrize("reason", [Reason.OPEN_EDGE, Reason.TRACED])
def test_what_was_agreed_to_is_checked_again(story, make, reason):
    """It waits while something is in its way, and is done when that goes away in time."""
    story.tick()
    story.answer()
    blocked = make.candidate(obstacles=(obstacle(reason, "x"),))
    assert story.tick(candidates=(blocked,)).kind is DecisionKind.REFUSED
    assert story.tick(candidates=(make.candidate(),)).kind is MOVE


def test_a_yes_is_for_that_target_and_no_other(story, make):
    story.tick(nodes=(make.head(), make.node("gpu1"), make.node("gpu2", cpu=0.2)))
    assert story.answer().target == "gpu1"
    decision = story.tick(nodes=(make.head(), make.node("gpu1", up=False), make.node("gpu2")))
    assert (decision.kind, decision.reason) == (DecisionKind.REFUSED, Reason.NO_TARGET)
    decision = story.tick(nodes=(make.head(), make.node("gpu1", cpu=0.3), make.node("gpu2")))
    assert (decision.kind, decision.target) == (MOVE, "gpu1")


def test_before_a_yes_another_target_is_another_question(story, make):
    story.tick(nodes=(make.head(), make.node("gpu1"), make.node("gpu2", cpu=0.2)))
    [first] = story.open()
    story.tick(nodes=(make.head(), make.node("gpu1", cpu=0.3), make.node("gpu2")))
    assert story.open()[0].id == first.id, "it stays where it was proposed while that is possible"
    story.tick(nodes=(make.head(), make.node("gpu1", up=False), make.node("gpu2")))
    [second] = story.open()
    assert (second.target, second.id == first.id) == ("gpu2", False)


def test_a_yes_to_a_live_move_is_none_to_a_restart(make):
    rule = make.rule()
    both = (StrategyName.LIVE, StrategyName.RESTART)
    story = Story(make, rule, available=(StrategyName.LIVE,))
    story.tick()
    assert story.answer().ways == (StrategyName.LIVE,)
    story.available = both
    decision = story.tick()
    assert (decision.kind, decision.strategy, decision.fallbacks) == (MOVE, StrategyName.LIVE, ())
    story.available = (StrategyName.RESTART,)
    decision = story.tick()
    assert (decision.kind, decision.reason) == (WOULD, Reason.APPROVAL)
    assert "live was agreed to" in decision.detail


def test_a_word_given_for_this_moment_is_none_for_tonight(story, make):
    story.tick()
    story.answer()
    story.tick(nodes=(make.head(), make.node(up=False)))
    while story.open():
        assert story.tick().kind is not MOVE
        assert story.now < 2000
    assert story.ended == [Reason.TIMEOUT]


def test_the_owner_of_what_an_admin_agreed_to_is_still_told_before(make):
    story = Story(make, notice_s=60.0)
    story.tick()
    assert story.state.notices == (), "nobody is told of what nobody has agreed to"
    story.answer(by_uid=ADMIN)
    decision = story.tick()
    assert (decision.kind, decision.reason) == (WOULD, Reason.NOTICE)
    began = story.now
    while story.tick().kind is not MOVE:
        assert story.now < began + 100
    assert story.now == began + 60


def test_an_owner_who_agrees_needs_no_notice(make):
    story = Story(make, notice_s=60.0)
    story.tick()
    story.answer(by_uid=OWNER)
    assert story.tick().kind is MOVE


def test_a_no_during_the_notice_takes_both_back(make):
    story = Story(make, notice_s=60.0)
    story.tick()
    story.answer()
    story.tick()
    story.answer(agreed=False)
    assert not any(one.open for one in story.state.notices)
    assert story.tick().kind is DecisionKind.REFUSED


@pytest.mark.parametrize("mode", [Mode.APPROVE, Mode.AUTO])
def test_what_is_its_owners_to_decide_is_asked_also_in_auto(make, mode):
    story = Story(make, mode=mode)
    decision = story.tick(candidates=(make.candidate(restart_safe=False),))
    assert (decision.kind, decision.reason) == (WOULD, Reason.NOT_RESTART_SAFE)
    [held] = story.open()
    assert (held.reason, held.owners_only) == (Reason.NOT_RESTART_SAFE, True)
    story.answer(by_uid=OWNER)
    decision = story.tick()
    assert (decision.kind, decision.approved_by) == (MOVE, OWNER)


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ADVISE])
def test_below_approve_nobody_is_asked(make, mode):
    story = Story(make, mode=mode)
    assert story.tick().reason is Reason.CEILING
    assert story.open() == []


def test_missing_data_holds_it(story, make):
    story.tick()
    story.answer()
    assert story.tick(values={"cpu": Reading("head", problem=Reason.DOWN)}).kind is DecisionKind.REFUSED
    assert len(story.open()) == 1
    assert story.tick(values={"cpu": 0.9}).kind is MOVE


def test_budgets_and_cooldowns_hold_it_too(story, make):
    story.tick()
    story.answer()
    flying = tuple(make.move(MoveState.FROZEN, pid, created_t=story.now) for pid in (1, 2))
    assert story.tick(moves=flying).reason is Reason.BUDGET_NODE
    assert len(story.open()) == 1


def test_of_two_rules_that_start_at_once_one_waits(make):
    asks, acts = make.rule(mode=Mode.APPROVE), make.rule("memory", Resource.MEMORY)
    story = Story(make, asks, acts, mode=Mode.AUTO)
    small, big = make.candidate(500, 2.0, 0), make.candidate(600, 0.5, 8 << 30)
    story.tick(values={"cpu": 0.9, "memory": 0.1}, candidates=(small, big))
    story.answer()
    asked, acting = (story.tick(values={"cpu": 0.9, "memory": 0.95}), story.decisions[1])
    assert (acting.kind, acting.candidate.leader.pid) == (MOVE, 600)
    assert (asked.kind, asked.reason) == (WOULD, Reason.BUDGET_NODE)


def test_a_clock_that_is_set_back_stretches_nothing(story):
    story.tick()
    story.tick(step=-500.0)
    assert story.open()[0].expires_t == story.now + 900


def test_everything_comes_back_from_the_journal_the_same(story):
    story.tick()
    story.answer()
    assert EngineState.from_json(json.loads(json.dumps(story.state.to_json()))) == story.state
    document = EngineState().to_json()
    del document["proposals"]
    assert EngineState.from_json(document) == EngineState(), "of a version that proposed nothing"


def test_the_chain_names_the_answer_that_is_missing(story, make):
    story.tick()
    broken = explain(story.decisions, story.snapshot).broken
    assert (broken.name, broken.reason) == ("ceiling", Reason.APPROVAL)
    assert broken.command == "grid-offloader approve 500"
    held = replace(obstacle(Reason.DISABLED, "it only records"))
    assert explain(story.decisions, story.snapshot, held_back=held).broken.reason is Reason.DISABLED
