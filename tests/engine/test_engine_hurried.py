"""An alert stands in for what is left of `for`, and for nothing else; what it gave is gone with it."""

import json

import pytest

from offloader.engine.evaluate import evaluate
from offloader.engine.plan import plan
from offloader.engine.schema import EngineState, RulePhase, RuleState
from offloader.model import DecisionKind, Mode, Policy, Reason, Toggles, Truth

INACTIVE, PENDING, FIRING, RELIEVING, COOLING = RulePhase
OVER, BETWEEN, UNDER, UNKNOWN = 0.9, 0.7, 0.5, None
POLICY = Policy(head="head", own_uid=1000, initial_cooldown_s=30.0, unknown_hold_s=60.0)
NOW = 1000.0


def tick(make, state, value, *, alerted, now=NOW, when=None, **rule):
    reading = make.reading(value) if value is not None else make.reading(problem=Reason.QUERY_FAILED)
    spec = make.rule(**{"for_s": 30.0, **rule})
    return evaluate(spec, state, reading, when, threshold=0.8, now=now, policy=POLICY, interval_s=5.0, alerted=alerted)


def course(make, *steps, **rule):
    """Five seconds a step, (value, alerted) each: the phases, and the last state and verdict."""
    state, phases, verdict = RuleState(), [], None
    for index, (value, alerted) in enumerate(steps):
        state, verdict = tick(make, state, value, alerted=alerted, now=NOW + 5 * index, **rule)
        phases.append(state.phase)
    return phases, state, verdict


@pytest.mark.parametrize(
    ("value", "when", "phase", "acting"),
    [
        (OVER, None, FIRING, True),
        (OVER, Truth.TRUE, FIRING, True),
        (BETWEEN, None, INACTIVE, False),
        (UNDER, None, INACTIVE, False),
        (UNKNOWN, None, INACTIVE, False),
        (OVER, Truth.FALSE, INACTIVE, False),
        (OVER, Truth.UNKNOWN, INACTIVE, False),
    ],
)
def test_only_a_rule_that_is_over_its_threshold_by_its_own_value_fires(make, value, when, phase, acting):
    state, verdict = tick(make, RuleState(), value, alerted=True, when=when)
    assert (state.phase, verdict.acting, state.hurried) == (phase, acting, acting)


def test_cooling_holds_a_hurried_rule_too(make):
    state, verdict = tick(make, RuleState(moved_t=NOW - 5), OVER, alerted=True)
    assert (state.phase, state.beneath, verdict.acting) == (COOLING, FIRING, False)


def test_without_the_alert_it_waits_again_for_what_is_left(make):
    phases, state, _ = course(make, (OVER, True), (OVER, True), (OVER, False))
    assert phases == [FIRING, FIRING, PENDING]
    assert (state.held_s, state.hurried) == (10.0, False)


def test_once_for_is_served_it_fires_in_its_own_right(make):
    phases, state, verdict = course(make, *[(OVER, True)] * 7, (OVER, False), (BETWEEN, False))
    assert phases == [FIRING] * 8 + [RELIEVING]
    assert (state.hurried, verdict.acting) == (False, True)


def test_time_below_the_threshold_does_not_count_as_for(make):
    """Relieving it still acts, as every rule that fired; but it is not served `for` by that."""
    steps = [(OVER, True)] * 3 + [(BETWEEN, True)] * 6 + [(OVER, True)] * 4
    phases, state, verdict = course(make, *steps)
    assert phases == [FIRING] * 3 + [RELIEVING] * 6 + [FIRING] * 4
    assert (state.hurried, state.held_s, verdict.acting) == (True, 15.0, True)
    after, _ = tick(make, state, BETWEEN, alerted=False, now=NOW + 5 * len(steps))
    assert (after.phase, after.hurried) == (INACTIVE, False)


def test_unknown_neither_takes_it_away_nor_acts(make):
    phases, state, verdict = course(make, (OVER, True), (UNKNOWN, False))
    assert phases == [FIRING, FIRING]
    assert (state.hurried, verdict.acting) == (True, False)


def test_keep_firing_for_bridges_a_dip_only_while_the_alert_lasts(make):
    steps = (OVER, True), (UNDER, True), (UNDER, False)
    phases, state, _ = course(make, *steps, keep_firing_for_s=60.0)
    assert phases == [FIRING, RELIEVING, INACTIVE]
    assert not state.hurried


def test_a_rule_without_for_owes_nothing_to_an_alert(make):
    phases, state, _ = course(make, (OVER, True), (BETWEEN, False), for_s=0.0)
    assert phases == [FIRING, RELIEVING]
    assert not state.hurried


def test_it_is_kept_with_the_state_and_an_older_state_has_none(make):
    _, state, _ = course(make, (OVER, True))
    assert RuleState.from_json(json.loads(json.dumps(state.to_json()))) == state
    older = {name: value for name, value in state.to_json().items() if name != "hurried"}
    assert not RuleState.from_json(older).hurried


def test_a_tick_hurries_the_rules_that_name_the_alert_and_no_other(make):
    rules = [make.rule("cpu", for_s=600.0), make.rule("busy", for_s=600.0)]
    snapshot = make.snapshot(values={"cpu": 0.9, "busy": 0.9}, alerted=frozenset({"head/cpu"}))
    state, decisions = plan(rules, EngineState(), snapshot, make.policy())
    assert [one.kind for one in decisions] == [DecisionKind.MOVE, DecisionKind.REFUSED]
    assert decisions[1].reason is Reason.RULE_PENDING
    assert state.rules["head/cpu", "head"].hurried


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"toggles": Toggles(ceiling=Mode.ADVISE)}, Reason.CEILING),
        ({"toggles": Toggles(ceiling=Mode.AUTO, kill_switch=True)}, Reason.KILL_SWITCH),
        ({"values": {}}, Reason.NO_DATA),
    ],
)
def test_ceiling_kill_switch_and_missing_data_hold_as_ever(make, changes, reason):
    snapshot = make.snapshot(alerted=frozenset({"head/cpu"}), **changes)
    _, [decision] = plan([make.rule(for_s=600.0)], EngineState(), snapshot, make.policy())
    assert (decision.kind is DecisionKind.MOVE, decision.reason) == (False, reason)
