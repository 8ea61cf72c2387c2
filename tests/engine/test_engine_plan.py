"""One tick as a whole: what is moved, what would be, what is not and why."""

from dataclasses import replace

import pytest

from offloader.engine.plan import moved, plan, started
from offloader.engine.schema import EngineState, RulePhase
from offloader.model import (
    Capacity,
    DecisionKind,
    Mode,
    MoveState,
    Obstacle,
    Reading,
    Reason,
    Resource,
    RuleMove,
    Toggles,
    Truth,
)

MOVE, WOULD, REFUSED = DecisionKind
GIB = 1 << 30


def decide(make, *rules, state=None, policy=None, **snapshot):
    rules = rules or (make.rule(),)
    _, decisions = plan(rules, state or EngineState(), make.snapshot(**snapshot), policy or make.policy())
    return decisions


def test_a_firing_rule_moves_the_job_to_the_worker(make):
    (decision,) = decide(make)
    assert (decision.kind, decision.target, decision.candidate.leader.pid) == (MOVE, "gpu1", 500)
    assert decision.reason is None
    assert decision.relieves == {Resource.CPU: 0.25}
    assert decision.expected_loss > 0
    assert (decision.value, decision.threshold, decision.relief) == (0.9, 0.8, 0.65)


@pytest.mark.parametrize(
    ("ceiling", "reason"),
    [(Mode.OBSERVE, Reason.CEILING), (Mode.ADVISE, Reason.CEILING), (Mode.APPROVE, Reason.APPROVAL)],
)
def test_below_auto_the_same_is_shown_and_nothing_moved(make, ceiling, reason):
    (auto,) = decide(make)
    (shown,) = decide(make, toggles=Toggles(ceiling=ceiling))
    assert (shown.kind, shown.reason, shown.mode) == (WOULD, reason, ceiling)
    assert (shown.candidate, shown.target, shown.expected_loss) == (auto.candidate, auto.target, auto.expected_loss)


def test_a_rules_own_mode_holds_it_back_too(make):
    (decision,) = decide(make, make.rule(mode=Mode.ADVISE))
    assert (decision.kind, decision.mode) == (WOULD, Mode.ADVISE)


def test_the_kill_switch_shows_what_it_holds_back(make):
    (decision,) = decide(make, toggles=Toggles(ceiling=Mode.AUTO, kill_switch=True))
    assert (decision.kind, decision.reason) == (WOULD, Reason.KILL_SWITCH)


def test_a_rule_in_observe_does_not_hold_up_one_in_auto(make):
    first = make.rule("watch", mode=Mode.OBSERVE)
    shown, acting = decide(make, first, make.rule(), values={"cpu": 0.9, "watch": 0.95})
    assert (shown.kind, acting.kind) == (WOULD, MOVE)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0.5, Reason.RULE_FALSE),
        (Reading("head", problem=Reason.AMBIGUOUS), Reason.AMBIGUOUS),
        (Reading("head", 0.9, 99.0), Reason.STALE),
        (Reading("head", float("nan"), 1.0), Reason.NOT_A_NUMBER),
    ],
)
def test_what_is_not_known_to_be_pressure_moves_nothing(make, value, reason):
    (decision,) = decide(make, values={"cpu": value})
    assert (decision.kind, decision.reason, decision.candidate) == (REFUSED, reason, None)


def test_no_value_at_all_and_a_head_that_is_down(make):
    assert decide(make, values={})[0].reason is Reason.NO_DATA
    down = make.head(up=False)
    assert decide(make, nodes=(down, make.node()))[0].reason is Reason.DOWN
    assert decide(make, nodes=(make.node(),))[0].reason is Reason.DOWN


def test_when_must_hold(make):
    key = ("head/cpu", "head")
    rule = make.rule(when="stall > 0.1")
    assert decide(make, rule, whens={key: Truth.FALSE})[0].reason is Reason.RULE_FALSE
    assert decide(make, rule, whens={key: Truth.TRUE})[0].kind is MOVE
    assert decide(make, rule)[0].reason is Reason.RULE_UNKNOWN, "an answer that is missing is no consent"


def test_freezing_does_not_look_like_relief(make):
    """0.5 observed and 0.35 frozen: still firing, but what is frozen is on its way out."""
    frozen = make.move(MoveState.FROZEN, 499)
    known = {"values": {"cpu": 0.5}, "moves": (frozen,), "frozen_load": {Resource.CPU: 0.35}}
    state, (decision,) = plan((make.rule(),), EngineState(), make.snapshot(**known), make.policy())
    assert state.rules["head/cpu", "head"].phase is RulePhase.FIRING
    assert (decision.kind, decision.reason) == (REFUSED, Reason.ALREADY_MOVING)


@pytest.mark.parametrize("value", [-0.4, float("nan"), float("inf")])
def test_frozen_load_makes_no_sense_of_a_value_that_has_none(make, value):
    (decision,) = decide(make, values={"cpu": value}, frozen_load={Resource.CPU: 1.3})
    assert decision.reason is Reason.NOT_A_NUMBER


def test_nothing_more_is_moved_while_what_is_in_flight_suffices(make):
    moving = make.candidate(500, cores=2.0)
    other = make.candidate(501, cores=1.0)
    (decision,) = decide(make, candidates=(moving, other), moves=(make.move(MoveState.PLANNED, 500),))
    assert (decision.kind, decision.reason) == (REFUSED, Reason.ALREADY_MOVING)


def test_a_second_one_starts_where_the_first_is_not_enough(make):
    moving = make.candidate(500, cores=1.0)
    other = make.candidate(501, cores=1.0)
    (decision,) = decide(make, candidates=(moving, other), moves=(make.move(MoveState.PLANNED, 500),))
    assert (decision.kind, decision.candidate.leader.pid) == (MOVE, 501)


def test_a_move_whose_relief_is_not_known_is_waited_for(make):
    (decision,) = decide(make, moves=(make.move(MoveState.PLANNED, 7777),))
    assert (decision.kind, decision.reason) == (REFUSED, Reason.ALREADY_MOVING)


def test_after_a_commit_the_rule_cools_then_goes_on(make):
    state, _ = plan((make.rule(),), EngineState(), make.snapshot(), make.policy())
    state = moved(state, make.move(MoveState.DONE, 400), 1010.0)
    rule = make.rule(cooldown_s=10.0)
    for now, kind in ((1015.0, REFUSED), (1020.0, MOVE)):
        state, (decision,) = plan((rule,), state, make.snapshot(now), make.policy())
        assert decision.kind is kind
    assert decision.reason is None


@pytest.mark.parametrize("state", [MoveState.OWNED, MoveState.ENDED, MoveState.ROLLING_BACK])
def test_a_move_that_is_decided_but_not_over_makes_the_rule_wait(make, state):
    """Between its commit and its end nothing is frozen on record any more, and averages still hold its load."""
    (decision,) = decide(make, moves=(make.move(state, 499, updated_t=999.0),))
    assert (decision.kind, decision.reason) == (REFUSED, Reason.COOLDOWN)


def test_a_rule_that_comes_with_a_reload_cools_with_the_others(make):
    state = started(995.0, make.policy(), None)
    assert decide(make, state=state)[0].reason is Reason.COOLDOWN
    state = moved(EngineState(), make.move(MoveState.DONE, 400), 995.0)
    assert decide(make, state=state)[0].reason is Reason.COOLDOWN


def test_the_state_of_a_rule_that_is_gone_is_dropped(make):
    state, _ = plan((make.rule(), make.rule("old")), EngineState(), make.snapshot(), make.policy())
    state, _ = plan((make.rule(),), state, make.snapshot(1005.0), make.policy())
    assert set(state.rules) == {("head/cpu", "head")}


def test_one_plan_for_all_rules_and_one_start(make):
    both = make.candidate(500, cores=1.5, memory=8 * GIB)
    cpu_only = make.candidate(501, cores=4.0)
    rules = (make.rule(), make.rule("memory", Resource.MEMORY, threshold=0.7, relief=0.6))
    cpu, memory = decide(make, *rules, candidates=(cpu_only, both), values={"cpu": 0.9, "memory": 0.75})
    starts = [one for one in (cpu, memory) if one.kind is MOVE]
    assert [one.candidate.leader.pid for one in starts] == [500], "the one that relieves both"
    assert starts[0].relieves == {Resource.CPU: 1.5 / 8, Resource.MEMORY: 0.25}
    assert {cpu.reason, memory.reason} == {None, Reason.BUDGET_NODE}


def test_what_fits_nowhere_gives_way_to_what_fits(make):
    whale = make.candidate(500, cores=6.0)
    fish = make.candidate(501, cores=1.0)
    (decision,) = decide(make, candidates=(whale, fish))
    assert (decision.kind, decision.candidate.leader.pid) == (MOVE, 501)
    assert [(pid, reason) for pid, reason, _ in decision.considered] == [(500, Reason.NO_TARGET)]


def test_no_target_is_said_with_why(make):
    (decision,) = decide(make, nodes=(make.head(), make.node(up=False)))
    assert (decision.kind, decision.reason) == (REFUSED, Reason.NO_TARGET)
    assert "gpu1 does not answer" in decision.detail
    (decision,) = decide(make, candidates=(make.candidate(cores=7.0),))
    assert "gpu1 would rise to" in decision.detail


def test_no_candidate_is_said_with_each_ones_reason(make):
    bad = make.candidate(500, obstacles=(Obstacle(Reason.TRACED, "traced"),))
    (decision,) = decide(make, candidates=(bad,))
    assert (decision.kind, decision.reason) == (REFUSED, Reason.NO_CANDIDATE)
    assert decision.considered == ((500, Reason.TRACED, "traced"),)
    assert decision.detail == "none of the 1 largest jobs may be moved (1 x TRACED)"
    assert decide(make, candidates=())[0].reason is Reason.NO_CANDIDATE


def test_what_needs_its_owner_is_proposed_only_when_nothing_else_is_there(make):
    waiting = make.candidate(500, cores=2.0, restart_safe=False)
    (decision,) = decide(make, candidates=(waiting,))
    assert (decision.kind, decision.reason, decision.target) == (WOULD, Reason.NOT_RESTART_SAFE, "gpu1")
    (decision,) = decide(make, candidates=(waiting, make.candidate(501, cores=1.0)))
    assert (decision.kind, decision.candidate.leader.pid) == (MOVE, 501)
    assert [(pid, reason) for pid, reason, _ in decision.considered] == [(500, Reason.NOT_RESTART_SAFE)]


def test_processes_of_other_nodes_are_no_candidates(make):
    elsewhere = replace(make.candidate(), node="gpu1")
    assert decide(make, candidates=(elsewhere,))[0].reason is Reason.NO_CANDIDATE


def test_the_rules_own_nodes(make):
    two = (make.head(), make.node("gpu1"), make.node("gpu2"))
    (decision,) = decide(make, make.rule(move=RuleMove(nodes=("gpu2",))), nodes=two)
    assert decision.target == "gpu2"


def test_a_set_threshold_is_used_at_once(make):
    toggles = Toggles(ceiling=Mode.AUTO, thresholds={Resource.CPU: 0.95})
    (decision,) = decide(make, toggles=toggles)
    assert (decision.reason, decision.threshold) == (Reason.RULE_FALSE, 0.95)


def test_workers_pressure_triggers_nothing(make):
    values = {"cpu": 0.1}
    snapshot = make.snapshot(values=values)
    readings = {**snapshot.values, ("head/cpu", "gpu1"): Reading("gpu1", 0.99, 1.0)}
    state, decisions = plan((make.rule(),), EngineState(), replace(snapshot, values=readings), make.policy())
    assert [one.node for one in decisions] == ["head"]
    assert set(state.rules) == {("head/cpu", "head")}


def test_a_decision_for_every_rule_in_their_order(make):
    names = ("c", "a", "b")
    decisions = decide(make, *(make.rule(name) for name in names), values={"a": 0.9, "c": 0.1})
    assert [one.rule for one in decisions] == ["head/c", "head/a", "head/b"]


def test_a_head_whose_size_is_not_known_moves_nothing(make):
    (decision,) = decide(make, nodes=(make.head(total=Capacity()), make.node()))
    assert decision.reason is Reason.NO_CANDIDATE
