"""One tick: every rule evaluated, one plan over all that fire, one decision a rule.

Rules in mode auto are planned together, so are those in mode approve, and the others as if they might act, so that
people see what would be done. What somebody must agree to is proposed (approval.py); what is to be moved waits for its
owner's notice (notice.py). A decision comes for every rule at every tick: whoever shows them drops repetitions.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from offloader.engine.approval import asked, one_start, standing
from offloader.engine.choice import choose_for
from offloader.engine.evaluate import data_problem, evaluate, threshold_for
from offloader.engine.guard import budget_left, effective_mode
from offloader.engine.history import heeding, moved, started, still_counted
from offloader.engine.notice import heeded, served
from offloader.engine.schema import EngineState, RuleState
from offloader.engine.tick import Evaluated, Tick, coming_relief, declined, waits_for_moves
from offloader.model import Decision, Mode, Policy, Reading, Reason, Rule, Snapshot, StrategyName, Truth

__all__ = ["moved", "plan", "started"]


def plan(
    rules: Sequence[Rule],
    state: EngineState,
    snapshot: Snapshot,
    policy: Policy,
    *,
    available: tuple[StrategyName, ...] = (StrategyName.RESTART,),
) -> tuple[EngineState, tuple[Decision, ...]]:
    """Advance by one tick. Only the head's pressure is evaluated; states of rules that are gone are dropped.

    Args:
        rules: All loaded rules, with distinct keys.
        state: What the tick before left.
        snapshot: What is known now.
        policy: What holds for all rules.
        available: Strategies that can be carried out.

    Returns:
        The new state, and one decision per rule in the rules' order.
    """
    states: dict[tuple[str, str], RuleState] = {}
    evaluated: list[Evaluated] = []
    for rule in rules:
        key = (rule.key, policy.head)
        fresh = RuleState(phase_t=snapshot.now, moved_t=state.moved_t.get(policy.head), started_t=state.started_t)
        states[key], verdict = evaluate(
            rule,
            heeding(state.rules.get(key, fresh), policy.head, snapshot.moves),
            _reading(rule, snapshot, policy),
            snapshot.whens.get(key, Truth.UNKNOWN if rule.when is not None else None),
            threshold=threshold_for(rule, snapshot.toggles),
            now=snapshot.now,
            policy=policy,
            interval_s=snapshot.scrape_interval_s,
            alerted=rule.key in snapshot.alerted,
        )
        evaluated.append(Evaluated(rule, effective_mode(rule, snapshot.toggles), verdict))
    after = replace(
        state,
        rules=states,
        failures=still_counted(state, snapshot.now, policy),
        notices=served(state, rules, snapshot, policy),
        proposals=standing(state, snapshot, policy),
    )
    tick = Tick(after, snapshot, policy, available, coming_relief(snapshot, policy))
    decisions: dict[str, Decision] = {}
    for modes in ({Mode.AUTO}, {Mode.APPROVE}, {Mode.OBSERVE, Mode.ADVISE}):
        group = [one for one in evaluated if one.mode in modes]
        decisions.update(_plan_group(group, tick))
    proposals, decisions = asked(evaluated, decisions, tick)
    after = replace(after, proposals=proposals)
    notices, decisions = heeded(evaluated, decisions, replace(tick, state=after))
    decisions = one_start(decisions)
    return replace(after, notices=notices), tuple(decisions[rule.key] for rule in rules)


def _reading(rule: Rule, snapshot: Snapshot, policy: Policy) -> Reading:
    """The head's value with the load of frozen originals added: freezing must not look like relief."""
    reading = snapshot.values.get((rule.key, policy.head))
    if reading is not None and reading.value is None:
        return reading  # it says itself what is wrong
    head = snapshot.nodes.get(policy.head)
    if head is None or not head.up:
        return Reading(policy.head, problem=Reason.DOWN, detail=f"{policy.head} is not up")
    if reading is None or reading.value is None:
        return Reading(policy.head, problem=Reason.NO_DATA, detail=f"`expr` gave nothing for {policy.head}")
    if data_problem(reading, math.inf) is not None:
        return reading  # nothing is added to a value that makes no sense
    # An average still holds part of what is frozen: together they cannot be more than all of it.
    estimate = reading.value + snapshot.frozen_load.get(rule.resource, 0.0)
    return replace(reading, value=max(reading.value, min(1.0, estimate)))


def _plan_group(group: Sequence[Evaluated], tick: Tick) -> dict[str, Decision]:
    """Decisions of rules that are planned together, by rule key."""
    decisions: dict[str, Decision] = {}
    acting: list[Evaluated] = []
    for one in group:
        if not one.verdict.acting:
            decisions[one.rule.key] = declined(one, tick, one.verdict.reason, one.verdict.detail)
        elif stop := budget_left(tick.policy.head, tick.snapshot, tick.policy) or waits_for_moves(one, tick):
            decisions[one.rule.key] = declined(one, tick, stop.reason, stop.seen)
        else:
            acting.append(one)
    if acting:
        decisions.update(choose_for(acting, tick))
    return decisions
