"""One rule, one node, one tick: from a reading to a phase and a verdict. docs/engine.md holds the state table.

`for` counts only time between two evaluations that both were true. Unknown neither advances nor resets it, for at most
`policy.unknown_hold_s`; a gap between evaluations (a stopped controller) is unknown time as well. An alert that the
rule names stands in for what is left of `for` while it fires, and for nothing else (ADR 22).
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from offloader.engine.schema import RulePhase, RuleState, Verdict
from offloader.model import Policy, Reading, Reason, Rule, Toggles, Truth

__all__ = ["cooling_until", "data_problem", "evaluate", "relief_for", "stale_after_s", "threshold_for"]

_LONGEST_STEP = 3.0
"""Evaluation intervals between two ticks that still count as one stretch of time."""
_LOWEST_RELIEF = 0.5
"""Of a threshold that was set very low: relief must stay reachable."""
_LARGEST_BACK_OFF = 64.0
_FIRED = (RulePhase.FIRING, RulePhase.RELIEVING)


class _Level(StrEnum):
    """Where the value lies. Between relief and threshold counts as true for a rule that fired, else as false."""

    OVER = "over"
    BETWEEN = "between"
    UNDER = "under"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class _Bounds:
    threshold: float
    relief: float


@dataclass(frozen=True, slots=True)
class _Problem:
    reason: Reason
    detail: str


def threshold_for(rule: Rule, toggles: Toggles) -> float:
    """The threshold in force: the one set by `auto --threshold`, where the rule lets it be set."""
    return toggles.thresholds.get(rule.resource, rule.threshold) if rule.threshold_toggle else rule.threshold


def relief_for(rule: Rule, threshold: float) -> float:
    """Relief keeps its distance from a threshold that was set; never below half of it, or it would not be reached."""
    return max(threshold - (rule.threshold - rule.relief), threshold * _LOWEST_RELIEF)


def stale_after_s(policy: Policy, interval_s: float) -> float:
    """The age at which a sample is too old, `interval_s` being the scrape interval."""
    return min(policy.stale_after_intervals * interval_s, policy.stale_cap_s)


def data_problem(reading: Reading, limit_s: float) -> Reason | None:
    """Why this reading must not be acted on; None: it is good. An age that is not known is an old one."""
    if reading.problem is not None:
        return reading.problem
    if reading.value is None:
        return Reason.NO_DATA
    if not math.isfinite(reading.value) or reading.value < 0:
        return Reason.NOT_A_NUMBER
    if reading.age_s is None or not -limit_s <= reading.age_s <= limit_s:  # far in the future: clocks disagree
        return Reason.STALE
    return None


def cooling_until(rule: Rule, state: RuleState, policy: Policy, interval_s: float) -> tuple[float, Reason]:
    """When the rule may act again (0: at once) and what it waits for.

    Averages lag after a move: the rule waits until its look-back window holds nothing from before it, plus one
    scrape (the choice against subtracting the moved load, which needs it to be known exactly). Every failure in a
    row doubles the cooldown, up to the quarantine's length.
    """
    ends = [(0.0, Reason.COOLDOWN)]
    if state.started_t is not None:
        ends.append((state.started_t + policy.initial_cooldown_s, Reason.COOLDOWN))
    if state.moved_t is not None:
        back_off = min(2.0**state.failed, _LARGEST_BACK_OFF)
        longest = max(rule.cooldown_s, policy.budgets.quarantine_s)
        ends.append((state.moved_t + min(rule.cooldown_s * back_off, longest), Reason.COOLDOWN))
        ends.append((state.moved_t + rule.look_back_s + interval_s, Reason.LOOK_BACK))
    return max(ends, key=lambda end: end[0])


def evaluate(
    rule: Rule,
    state: RuleState,
    reading: Reading,
    when: Truth | None,
    *,
    threshold: float,
    now: float,
    policy: Policy,
    interval_s: float,
    alerted: bool = False,
) -> tuple[RuleState, Verdict]:
    """Advance one rule on one node by one tick.

    Args:
        rule: What to evaluate.
        state: What the evaluation before left.
        reading: The value of `expr`, frozen load added.
        when: The answer of the rule's `when`; None: it has none.
        threshold: The one in force (`threshold_for`).
        now: Unix seconds.
        policy: How long unknown is borne, when a sample is stale.
        interval_s: The scrape interval.
        alerted: Whether an alert fires that the rule names.
    """
    relief = relief_for(rule, threshold)
    bounds = _Bounds(threshold, relief)
    level, problem = _level(reading, when, bounds, stale_after_s(policy, interval_s))
    earlier = _forward_clock(state, now)
    after = _step(rule, earlier, level, now=now, policy=policy, interval_s=interval_s, alerted=alerted)
    until, waits_for = cooling_until(rule, after, policy, interval_s)
    phase = RulePhase.COOLING if now < until else after.beneath
    after = replace(after, phase=phase, phase_t=now if phase is not state.phase else earlier.phase_t)
    truth = _truth(level, earlier.beneath)
    value = reading.value if level is not _Level.UNKNOWN else None
    cooling = _Problem(waits_for, f"{until - now:.0f} s of {waits_for.value.lower()} left") if now < until else None
    blocked = problem or _why_not(rule, after, reading, when, bounds) or cooling
    verdict = Verdict(
        truth=truth,
        phase=phase,
        acting=blocked is None,
        threshold=threshold,
        relief=relief,
        value=value,
        age_s=reading.age_s,
        excess=max(0.0, value - relief) if value is not None else 0.0,
        reason=blocked.reason if blocked else None,
        detail=blocked.detail if blocked else "",
        alert=after.unknown_t is not None and now - after.unknown_t >= policy.unknown_hold_s,
        fired=after.beneath in _FIRED,
    )
    return after, verdict


def _level(reading: Reading, when: Truth | None, bounds: _Bounds, limit_s: float) -> tuple[_Level, _Problem | None]:
    reason = data_problem(reading, limit_s)
    if reason is not None:
        age = "of unknown age" if reading.age_s is None else f"{reading.age_s:.0f} s old"
        seen = f"the sample is {age}, {limit_s:.0f} s are allowed" if reason is Reason.STALE else "no value to act on"
        return _Level.UNKNOWN, _Problem(reason, reading.detail or f"{reading.node}: {seen}")
    assert reading.value is not None
    if reading.value < bounds.relief or when is Truth.FALSE:
        return _Level.UNDER, None
    if when is Truth.UNKNOWN:
        return _Level.UNKNOWN, _Problem(Reason.RULE_UNKNOWN, "the condition `when` has no answer")
    return (_Level.OVER if reading.value >= bounds.threshold else _Level.BETWEEN), None


def _forward_clock(state: RuleState, now: float) -> RuleState:
    """A clock that was set back must not stretch waiting into the future: what lies ahead of now begins now."""

    def bounded(t: float | None) -> float | None:
        return None if t is None else min(t, now)

    return replace(
        state,
        phase_t=min(state.phase_t, now),
        last_t=bounded(state.last_t),
        true_t=bounded(state.true_t),
        unknown_t=bounded(state.unknown_t),
        moved_t=bounded(state.moved_t),
        started_t=bounded(state.started_t),
    )


def _step(
    rule: Rule, state: RuleState, level: _Level, *, now: float, policy: Policy, interval_s: float, alerted: bool
) -> RuleState:
    """The state beneath cooling, one tick later."""
    elapsed = now - state.last_t if state.last_t is not None else 0.0
    gap = elapsed > _LONGEST_STEP * max(rule.interval_s, interval_s)
    if gap and elapsed > policy.unknown_hold_s:
        state = replace(state, beneath=RulePhase.INACTIVE, held_s=0.0, true_t=None, hurried=False)
    if level is _Level.UNKNOWN:
        return _unknown(state, now, policy)
    whole = state.last_truth is Truth.TRUE and not gap
    held_s = state.held_s + (elapsed if whole else 0.0)
    beneath, held_s, hurried = _known(rule, state, level, held_s, now, alerted=alerted)
    not_relieved = level is _Level.OVER or (level is _Level.BETWEEN and beneath in _FIRED)
    return replace(
        state,
        beneath=beneath,
        held_s=held_s,
        last_t=now,
        last_truth=_truth(level, state.beneath),
        true_t=now if not_relieved else (state.true_t if beneath in _FIRED else None),
        unknown_t=None,
        hurried=hurried,
    )


def _unknown(state: RuleState, now: float, policy: Policy) -> RuleState:
    since = state.unknown_t if state.unknown_t is not None else (state.last_t if state.last_t is not None else now)
    held = replace(state, last_t=now, last_truth=Truth.UNKNOWN, unknown_t=since)
    if now - since < policy.unknown_hold_s:
        return held
    return replace(held, beneath=RulePhase.INACTIVE, held_s=0.0, true_t=None, hurried=False)


def _known(
    rule: Rule, state: RuleState, level: _Level, held_s: float, now: float, *, alerted: bool
) -> tuple[RulePhase, float, bool]:
    """Phase beneath cooling, time served of `for`, and whether an alert stands in for the rest, for a known value."""
    over = level is _Level.OVER
    counting = state.beneath is RulePhase.PENDING or (state.hurried and state.beneath is RulePhase.FIRING)
    held_s = held_s if over and counting else 0.0
    in_its_own_right = over and held_s >= rule.for_s
    if state.beneath in _FIRED and (not state.hurried or in_its_own_right):
        return _fired(rule, state, level, now), 0.0, False
    if state.beneath in _FIRED and alerted:
        phase = _fired(rule, state, level, now)
        return phase, held_s, phase in _FIRED
    if not over:
        return RulePhase.INACTIVE, 0.0, False
    if in_its_own_right:
        return RulePhase.FIRING, 0.0, False
    return (RulePhase.FIRING if alerted else RulePhase.PENDING), held_s, alerted


def _fired(rule: Rule, state: RuleState, level: _Level, now: float) -> RulePhase:
    """What follows for a rule that has fired."""
    kept = state.true_t is not None and now - state.true_t < rule.keep_firing_for_s
    match level:
        case _Level.OVER:
            return RulePhase.FIRING
        case _Level.BETWEEN:
            return RulePhase.RELIEVING
        case _:
            return RulePhase.RELIEVING if kept else RulePhase.INACTIVE


def _truth(level: _Level, before: RulePhase) -> Truth:
    match level:
        case _Level.UNKNOWN:
            return Truth.UNKNOWN
        case _Level.OVER:
            return Truth.TRUE
        case _Level.BETWEEN:
            return Truth.TRUE if before in _FIRED else Truth.FALSE
        case _Level.UNDER:
            return Truth.FALSE


def _why_not(rule: Rule, state: RuleState, reading: Reading, when: Truth | None, bounds: _Bounds) -> _Problem | None:
    """What keeps a rule with a known value from acting; None: nothing does."""
    if state.beneath is RulePhase.PENDING:
        return _Problem(
            Reason.RULE_PENDING, f"over {bounds.threshold:.0%} for {state.held_s:.0f} of {rule.for_s:.0f} s"
        )
    if when is Truth.FALSE:
        return _Problem(Reason.RULE_FALSE, "the condition `when` does not hold")
    assert reading.value is not None
    if state.beneath in _FIRED and reading.value >= bounds.relief:
        return None
    fired = state.beneath in _FIRED
    bound = f"relief {bounds.relief:.0%}" if fired else f"threshold {bounds.threshold:.0%}"
    return _Problem(Reason.RULE_FALSE, f"{reading.value:.1%} is below {bound}")
