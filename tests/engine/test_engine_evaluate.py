"""The state table of docs/engine.md, cell by cell, and what time does to it."""

import math
from dataclasses import replace

import pytest

from offloader.engine.evaluate import evaluate, relief_for, threshold_for
from offloader.engine.schema import RulePhase, RuleState
from offloader.model import Policy, Reason, Resource, Toggles, Truth

INACTIVE, PENDING, FIRING, RELIEVING, COOLING = RulePhase
OVER, BETWEEN, UNDER, UNKNOWN = 0.9, 0.7, 0.5, None
POLICY = Policy(head="head", own_uid=1000, initial_cooldown_s=30.0, unknown_hold_s=60.0)
NOW = 1000.0


def tick(make, state, value, *, now=NOW, when=None, threshold=0.8, policy=POLICY, **rule):
    reading = make.reading(value) if value is not None else make.reading(problem=Reason.QUERY_FAILED)
    spec = make.rule(**{"for_s": 30.0, **rule})
    return evaluate(spec, state, reading, when, threshold=threshold, now=now, policy=policy, interval_s=5.0)


def standing(phase, *, held_s=0.0, truth=Truth.TRUE, **changes):
    """A rule that was in this phase five seconds ago."""
    beneath = changes.pop("beneath", phase)
    return RuleState(phase=phase, beneath=beneath, held_s=held_s, last_t=NOW - 5, last_truth=truth, **changes)


@pytest.mark.parametrize(
    ("before", "value", "after", "truth", "acting"),
    [
        (INACTIVE, OVER, PENDING, "true", False),
        (INACTIVE, BETWEEN, INACTIVE, "false", False),
        (INACTIVE, UNDER, INACTIVE, "false", False),
        (INACTIVE, UNKNOWN, INACTIVE, "unknown", False),
        (PENDING, OVER, PENDING, "true", False),
        (PENDING, BETWEEN, INACTIVE, "false", False),
        (PENDING, UNDER, INACTIVE, "false", False),
        (PENDING, UNKNOWN, PENDING, "unknown", False),
        (FIRING, OVER, FIRING, "true", True),
        (FIRING, BETWEEN, RELIEVING, "true", True),
        (FIRING, UNDER, INACTIVE, "false", False),
        (FIRING, UNKNOWN, FIRING, "unknown", False),
        (RELIEVING, OVER, FIRING, "true", True),
        (RELIEVING, BETWEEN, RELIEVING, "true", True),
        (RELIEVING, UNDER, INACTIVE, "false", False),
        (RELIEVING, UNKNOWN, RELIEVING, "unknown", False),
    ],
)
def test_every_cell_of_the_state_table(make, *, before, value, after, truth, acting):
    state, verdict = tick(make, standing(before), value)
    assert (state.phase, verdict.truth, verdict.acting) == (after, truth, acting)
    assert state.beneath is after


@pytest.mark.parametrize("beneath", [INACTIVE, PENDING, FIRING, RELIEVING])
@pytest.mark.parametrize("value", [OVER, BETWEEN, UNDER, UNKNOWN])
def test_cooling_lies_over_every_cell_and_never_acts(make, beneath, value):
    state, verdict = tick(make, standing(COOLING, beneath=beneath, moved_t=NOW - 5), value)
    below, _ = tick(make, standing(beneath), value)
    assert (state.phase, state.beneath, verdict.acting) == (COOLING, below.beneath, False)


def test_cooling_ends_in_what_lies_beneath(make):
    state, verdict = tick(make, standing(COOLING, beneath=FIRING, moved_t=NOW - 31), BETWEEN)
    assert (state.phase, verdict.acting) == (RELIEVING, True)


def test_for_is_served_by_true_time_only(make):
    state = RuleState()
    phases = []
    for index, value in enumerate([OVER] * 4 + [UNKNOWN] * 3 + [OVER] * 5):
        state, _ = tick(make, state, value, now=NOW + 5 * index)
        phases.append(state.phase)
    # 15 s before the unknown ticks, 20 s after them (the step out of unknown does not count): 30 s at the last but one
    assert phases[:10] == [PENDING] * 10
    assert phases[10:] == [FIRING, FIRING]


def test_no_for_fires_at_once(make):
    state, verdict = tick(make, RuleState(), OVER, for_s=0.0)
    assert state.phase is FIRING
    assert verdict.acting


def test_unknown_is_borne_for_a_while_then_resets_and_alerts(make):
    state, alerts = standing(PENDING, held_s=25.0), []
    for offset in range(0, 60, 5):
        state, verdict = tick(make, state, UNKNOWN, now=NOW + offset)
        alerts.append((state.phase, verdict.alert))
    assert alerts[:11] == [(PENDING, False)] * 11
    assert alerts[11] == (INACTIVE, True)
    assert state.held_s == 0.0


def test_unknown_resets_a_firing_rule_too(make):
    state, _ = tick(make, standing(FIRING), UNKNOWN, now=NOW + 54)
    assert state.phase is FIRING
    state, verdict = tick(make, state, UNKNOWN, now=NOW + 55)
    assert (state.phase, verdict.alert) == (INACTIVE, True)


def test_a_controller_that_was_away_shortly_goes_on_where_it_was(make):
    state, _ = tick(make, standing(PENDING, held_s=20.0), OVER, now=NOW + 40)
    assert (state.phase, state.held_s) == (PENDING, 20.0)
    state, _ = tick(make, state, OVER, now=NOW + 50)
    assert state.phase is FIRING


@pytest.mark.parametrize("phase", [PENDING, FIRING, RELIEVING])
def test_a_controller_that_was_away_for_long_begins_again(make, phase):
    state, verdict = tick(make, standing(phase, held_s=20.0), OVER, now=NOW + 600)
    assert (state.phase, state.held_s, verdict.acting) == (PENDING, 0.0, False)


def test_keep_firing_for_bridges_a_dip_without_acting_in_it(make):
    state = standing(FIRING, true_t=NOW - 5)
    state, dip = tick(make, state, UNDER, keep_firing_for_s=20.0)
    assert (state.phase, dip.acting, dip.reason) == (RELIEVING, False, Reason.RULE_FALSE)
    state, back = tick(make, state, OVER, now=NOW + 5, keep_firing_for_s=20.0)
    assert (state.phase, back.acting) == (FIRING, True)


def test_keep_firing_for_ends(make):
    state, _ = tick(make, standing(FIRING, true_t=NOW - 20), UNDER, keep_firing_for_s=20.0)
    assert state.phase is INACTIVE


def test_relief_is_reached_below_not_at_it(make):
    at, _ = tick(make, standing(FIRING), 0.65)
    below, _ = tick(make, standing(FIRING), 0.6499)
    assert (at.phase, below.phase) == (RELIEVING, INACTIVE)


def test_threshold_is_reached_at_it(make):
    at, _ = tick(make, RuleState(), 0.8)
    below, _ = tick(make, RuleState(), 0.7999)
    assert (at.phase, below.phase) == (PENDING, INACTIVE)


@pytest.mark.parametrize(
    ("when", "value", "truth", "reason"),
    [
        (Truth.TRUE, OVER, Truth.TRUE, None),
        (Truth.FALSE, OVER, Truth.FALSE, Reason.RULE_FALSE),
        (Truth.UNKNOWN, OVER, Truth.UNKNOWN, Reason.RULE_UNKNOWN),
        (Truth.UNKNOWN, UNDER, Truth.FALSE, Reason.RULE_FALSE),
        (Truth.TRUE, UNKNOWN, Truth.UNKNOWN, Reason.QUERY_FAILED),
        (Truth.FALSE, UNKNOWN, Truth.UNKNOWN, Reason.QUERY_FAILED),
    ],
)
def test_when_is_a_three_valued_and(make, when, value, truth, reason):
    _, verdict = tick(make, standing(FIRING), value, when=when)
    assert (verdict.truth, verdict.reason, verdict.acting) == (truth, reason, reason is None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": math.nan}, Reason.NOT_A_NUMBER),
        ({"value": math.inf}, Reason.NOT_A_NUMBER),
        ({"value": -0.1}, Reason.NOT_A_NUMBER),
        ({"value": None}, Reason.NO_DATA),
        ({"age_s": None}, Reason.STALE),
        ({"age_s": 15.1}, Reason.STALE),
        ({"age_s": -15.1}, Reason.STALE),
        ({"value": None, "problem": Reason.AMBIGUOUS}, Reason.AMBIGUOUS),
        ({"value": None, "problem": Reason.DOWN}, Reason.DOWN),
        ({"value": None, "problem": Reason.WARNINGS}, Reason.WARNINGS),
        ({"problem": Reason.STALE}, Reason.STALE),
    ],
)
def test_a_reading_that_must_not_be_acted_on_is_unknown_with_its_reason(make, changes, reason):
    reading = replace(make.reading(0.9), **changes)
    _, verdict = evaluate(
        make.rule(), standing(FIRING), reading, None, threshold=0.8, now=NOW, policy=POLICY, interval_s=5.0
    )
    assert (verdict.truth, verdict.acting, verdict.reason) == (Truth.UNKNOWN, False, reason)
    assert verdict.detail


def test_the_stale_limit_is_three_scrapes_and_capped(make):
    old = make.reading(0.9, 181.0)
    _, verdict = evaluate(
        make.rule(), standing(FIRING), old, None, threshold=0.8, now=NOW, policy=POLICY, interval_s=120.0
    )
    assert verdict.reason is Reason.STALE


def test_after_a_move_the_rule_waits_for_cooldown_and_look_back(make):
    def blocked_at(seconds):
        _, verdict = tick(make, standing(FIRING, moved_t=NOW - seconds), OVER, cooldown_s=30.0, look_back_s=60.0)
        return verdict.reason

    assert blocked_at(5) is Reason.LOOK_BACK
    assert blocked_at(64.9) is Reason.LOOK_BACK  # look-back plus one scrape
    assert blocked_at(65) is None


def test_every_failure_in_a_row_doubles_the_cooldown_up_to_the_quarantine(make):
    def acting(seconds, failed):
        return tick(make, standing(FIRING, moved_t=NOW - seconds, failed=failed), OVER)[1].acting

    assert not acting(59, failed=1)
    assert acting(60, failed=1)
    assert not acting(1919, failed=9)
    assert acting(1920, failed=9)


def test_initial_cooldown_after_a_start(make):
    assert tick(make, standing(FIRING, started_t=NOW - 29), OVER)[1].reason is Reason.COOLDOWN
    assert tick(make, standing(FIRING, started_t=NOW - 30), OVER)[1].acting


def test_a_clock_set_back_does_not_stretch_the_cooldown(make):
    state, _ = tick(make, standing(FIRING, moved_t=NOW + 86400), OVER)
    assert state.moved_t == NOW
    # last evaluated "tomorrow": that time is unknown, but bounded; the rule acts again after its cooldown
    for offset in range(5, 35, 5):
        state, verdict = tick(make, state, OVER, now=NOW + offset)
    assert verdict.acting


def test_a_calm_rule_says_false_not_cooldown(make):
    _, verdict = tick(make, standing(INACTIVE, truth=Truth.FALSE, moved_t=NOW - 1), UNDER)
    assert (verdict.phase, verdict.reason) == (COOLING, Reason.RULE_FALSE)


def test_excess_tells_how_much_is_to_be_moved(make):
    _, verdict = tick(make, standing(FIRING), OVER)
    assert verdict.excess == pytest.approx(0.25)


def test_a_set_threshold_moves_relief_with_it(make):
    rule = make.rule(threshold=0.8, relief=0.65)
    toggles = Toggles(thresholds={Resource.CPU: 0.6})
    assert threshold_for(rule, toggles) == 0.6
    assert relief_for(rule, 0.6) == pytest.approx(0.45)
    assert relief_for(rule, 0.1) == pytest.approx(0.05), "relief stays reachable"
    assert threshold_for(replace(rule, threshold_toggle=False), toggles) == 0.8
