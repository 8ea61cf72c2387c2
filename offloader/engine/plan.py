"""One tick: every rule evaluated, one plan over all that fire, one decision a rule.

Rules in mode auto are planned together; the others are planned together as if they might act, so that people see what
would be done. A decision comes for every rule at every tick: whoever shows them drops repetitions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from offloader.engine.evaluate import evaluate, stale_after_s, threshold_for
from offloader.engine.guard import budget_left, effective_mode, in_flight, process_limits
from offloader.engine.place import place, shares, usable
from offloader.engine.remedies import obstacle
from offloader.engine.schema import EngineState, Failure, RuleState, Target, Verdict, identity_key
from offloader.engine.select import Option, assess, choose
from offloader.model import (
    Decision,
    DecisionKind,
    Mode,
    Move,
    MoveState,
    Obstacle,
    Policy,
    Reading,
    Reason,
    Resource,
    Rule,
    Snapshot,
    StrategyName,
)

__all__ = ["moved", "plan", "started"]

_SHOWN = 50  # refused candidates that a decision lists, the largest first
_NOT_FROZEN_YET = frozenset(
    {
        MoveState.PLANNED,
        MoveState.PREFLIGHTED,
        MoveState.RESERVED,
        MoveState.QUEUED,
        MoveState.HELD,
    }
)
_NO_FAILURE = frozenset({Reason.CANCELLED, Reason.DISABLED, Reason.CONTROLLER_RESTARTED, Reason.ORIGINAL_GONE})
"""Ends of a move that say nothing against moving its process again."""


_Refusal = tuple[int, Reason, str]  # pid, reason, what was seen
_Refusals = dict[str, list[_Refusal]]  # by rule key
_OUTDONE = (Reason.BUDGET_NODE, "one start a tick: another job loses less")


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """A rule of this tick with what came out."""

    rule: Rule
    mode: Mode
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Tick:
    """What every step of planning asks."""

    state: EngineState
    snapshot: Snapshot
    policy: Policy
    available: tuple[StrategyName, ...]


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
    evaluated: list[_Evaluated] = []
    for rule in rules:
        key = (rule.key, policy.head)
        fresh = RuleState(phase_t=snapshot.now, moved_t=state.moved_t.get(policy.head), started_t=state.started_t)
        states[key], verdict = evaluate(
            rule,
            state.rules.get(key, fresh),
            _reading(rule, snapshot, policy),
            snapshot.whens.get(key),
            threshold=threshold_for(rule, snapshot.toggles),
            now=snapshot.now,
            policy=policy,
            interval_s=snapshot.scrape_interval_s,
        )
        evaluated.append(_Evaluated(rule, effective_mode(rule, snapshot.toggles), verdict))
    after = replace(state, rules=states, failures=_still_counted(state, snapshot.now, policy))
    tick = _Tick(after, snapshot, policy, available)
    decisions: dict[str, Decision] = {}
    for acts in (True, False):
        group = [one for one in evaluated if (one.mode is Mode.AUTO) is acts]
        decisions.update(_plan_group(group, tick))
    return after, tuple(decisions[rule.key] for rule in rules)


def moved(state: EngineState, move: Move, now: float) -> EngineState:
    """A move committed or failed: every rule of its source waits from now on; its failure is counted, once."""
    failed = not move.state.committed and move.reason not in _NO_FAILURE
    known = any(failure.move == move.id for failure in state.failures)
    failures = state.failures
    if failed and not known:
        failures = (*failures, Failure(move.id, identity_key(move.identity), now))

    def told(key: tuple[str, str], rule: RuleState) -> RuleState:
        if key[1] != move.source:
            return rule
        count = rule.failed
        if key[0] == move.rule:
            count = 0 if move.state.committed else count + int(failed and not known)
        return replace(rule, moved_t=now, failed=count)

    return replace(
        state,
        rules={key: told(key, rule) for key, rule in state.rules.items()},
        moved_t={**state.moved_t, move.source: now},
        failures=failures,
    )


def started(now: float, policy: Policy, previous: EngineState | None) -> EngineState:
    """The state after a start or reload: what was known stays, and every rule of the head waits a while first."""
    state = previous if previous is not None else EngineState()
    rules = {key: replace(rule, started_t=now) if key[1] == policy.head else rule for key, rule in state.rules.items()}
    return replace(state, rules=rules, started_t=now)


def _still_counted(state: EngineState, now: float, policy: Policy) -> tuple[Failure, ...]:
    return tuple(one for one in state.failures if one.t > now - policy.budgets.quarantine_s)


def _reading(rule: Rule, snapshot: Snapshot, policy: Policy) -> Reading:
    """The head's value with the load of frozen originals added: freezing must not look like relief."""
    head = snapshot.nodes.get(policy.head)
    if head is None or not head.up:
        return Reading(policy.head, problem=Reason.DOWN, detail=f"{policy.head} is not up")
    reading = snapshot.values.get((rule.key, policy.head))
    if reading is None:
        return Reading(policy.head, problem=Reason.NO_DATA, detail=f"`expr` gave nothing for {policy.head}")
    if reading.value is None:
        return reading
    return replace(reading, value=reading.value + snapshot.frozen_load.get(rule.resource, 0.0))


def _plan_group(group: Sequence[_Evaluated], tick: _Tick) -> dict[str, Decision]:
    """Decisions of rules that are planned together, by rule key."""
    decisions: dict[str, Decision] = {}
    needs: dict[str, float] = {}
    for one in group:
        if not one.verdict.acting:
            decisions[one.rule.key] = _refused(one, tick, one.verdict.reason, one.verdict.detail)
        elif stop := budget_left(tick.policy.head, tick.snapshot, tick.policy) or _waits_for_moves(one, tick):
            decisions[one.rule.key] = _refused(one, tick, stop.reason, stop.seen)
        else:
            needs[one.rule.key] = _need(one, tick)
    acting = [one for one in group if one.rule.key in needs]
    if acting:
        decisions.update(_choose_for(acting, tick))
    return decisions


def _need(one: _Evaluated, tick: _Tick) -> float:
    """How far this rule's value is above relief, beyond what moves in flight will take away.

    Frozen load was added to the value; it is on its way out, and averages still hold it besides: it is taken off twice,
    so that at worst too little is moved at first.
    """
    coming = sum(_coming_relief(tick, one.rule.resource) or ())
    return one.verdict.excess - 2 * tick.snapshot.frozen_load.get(one.rule.resource, 0.0) - coming


def _coming_relief(tick: _Tick, resource: Resource) -> list[float] | None:
    """What each move off the head that is not frozen yet will relieve; None: for one of them that is not known."""
    head = tick.snapshot.nodes[tick.policy.head]
    by_pid = {
        identity_key(member.identity): candidate
        for candidate in tick.snapshot.candidates
        for member in candidate.members
    }
    relief: list[float] = []
    for move in in_flight(tick.snapshot.moves):
        if move.source != head.name or move.state not in _NOT_FROZEN_YET:
            continue
        candidate = by_pid.get(identity_key(move.identity))
        if candidate is None:
            return None
        relief.append(shares(candidate.usage, head.total).get(resource, 0.0))
    return relief


def _waits_for_moves(one: _Evaluated, tick: _Tick) -> Obstacle | None:
    """Nothing more is moved while what is in flight should suffice, or cannot be told to."""
    ids = ", ".join(move.id for move in in_flight(tick.snapshot.moves) if move.source == tick.policy.head)
    if _coming_relief(tick, one.rule.resource) is None:
        return obstacle(Reason.ALREADY_MOVING, f"what {ids} will relieve is not known")
    if _need(one, tick) <= 0:
        return obstacle(Reason.ALREADY_MOVING, f"{ids or 'a move'} is expected to bring relief")
    return None


def _choose_for(acting: Sequence[_Evaluated], tick: _Tick) -> dict[str, Decision]:
    """One start at most for all of these rules."""
    options, refusals = _options(acting, tick)
    for waiting in (False, True):  # what needs its owner is only proposed, and only when nothing else is there
        pool = [one for one in options if (one.waits is not None) is waiting]
        found = _first_with_place(pool, acting, tick, refusals)
        if found is not None:
            return _chosen(acting, tick, found, options, refusals)
    decisions: dict[str, Decision] = {}
    for one in acting:
        refused = refusals[one.rule.key]
        homeless = next((seen for _, reason, seen in refused if reason is Reason.NO_TARGET), None)
        reason = Reason.NO_TARGET if homeless is not None else Reason.NO_CANDIDATE
        decisions[one.rule.key] = _refused(one, tick, reason, homeless or _tally(refused), refused)
    return decisions


def _options(acting: Sequence[_Evaluated], tick: _Tick) -> tuple[list[Option], _Refusals]:
    """What could be chosen, each candidate once with all it relieves; and why the others cannot, by rule."""
    head = tick.snapshot.nodes[tick.policy.head]
    refusals: _Refusals = {one.rule.key: [] for one in acting}
    options: list[Option] = []
    for candidate in tick.snapshot.candidates:
        if candidate.node != head.name:
            continue
        limit = process_limits(candidate, tick.state, tick.snapshot, tick.policy) if candidate.movable else None
        relief = shares(candidate.usage, head.total)
        accepted: list[tuple[Rule, Option]] = []
        for one in acting:
            result = limit or assess(candidate, one.rule, relief, tick.available)
            if isinstance(result, Obstacle):
                refusals[one.rule.key].append((candidate.leader.pid, result.reason, result.seen))
            else:
                accepted.append((one.rule, result))
        if accepted:
            options.append(_merged(accepted, relief))
    return options, refusals


def _merged(accepted: Sequence[tuple[Rule, Option]], relief: Mapping[Resource, float]) -> Option:
    """One option for all rules that accept a candidate; those for which it waits for its owner do not hold it up."""
    free = [(rule, option) for rule, option in accepted if option.waits is None] or accepted
    resources = {rule.resource for rule, _ in free}
    relieves = {resource: part for resource, part in relief.items() if resource in resources}
    return replace(free[0][1], relieves=relieves, rules=tuple(rule.key for rule, _ in free))


def _first_with_place(
    pool: list[Option], acting: Sequence[_Evaluated], tick: _Tick, refusals: _Refusals
) -> tuple[Option, Target, _Evaluated] | None:
    """The best of the pool that fits somewhere. Those that fit nowhere are refused, and the choice is made again."""
    snapshot, policy = tick.snapshot, tick.policy
    limit = stale_after_s(policy, snapshot.scrape_interval_s)
    open_nodes = usable(snapshot.nodes.values(), policy, stale_after_s=limit)
    closed = {name: node for name, node in snapshot.nodes.items() if name not in open_nodes}
    why_closed = ""
    while pool:
        option = choose(pool, _needs(acting, tick))
        rule = _leading(option, acting, tick)
        nodes, reserved, allowed = open_nodes, snapshot.reserved, rule.rule.move.nodes
        found = place(option.candidate, nodes, reserved, policy, allowed=allowed, stale_after_s=limit)
        if isinstance(found, Target):
            return option, found, rule
        if not why_closed:
            why_closed = _seen(place(option.candidate, closed, reserved, policy, stale_after_s=limit))
        seen = f"{found.seen}; {why_closed}" if open_nodes else why_closed
        for key in option.rules:
            refusals[key].append((option.candidate.leader.pid, Reason.NO_TARGET, seen))
        pool = [one for one in pool if one is not option]
    return None


def _seen(found: Target | Obstacle) -> str:
    return found.seen if isinstance(found, Obstacle) else ""


def _needs(acting: Sequence[_Evaluated], tick: _Tick) -> dict[Resource, float]:
    """How far each firing resource is above relief, by the rule that asks for most."""
    needs: dict[Resource, float] = {}
    for one in acting:
        needs[one.rule.resource] = max(needs.get(one.rule.resource, 0.0), _need(one, tick))
    return needs


def _leading(option: Option, acting: Sequence[_Evaluated], tick: _Tick) -> _Evaluated:
    """The rule in whose name the option is moved: of those that accept it, the one in the greatest need."""
    return max((one for one in acting if one.rule.key in option.rules), key=lambda one: _need(one, tick))


def _chosen(
    acting: Sequence[_Evaluated],
    tick: _Tick,
    found: tuple[Option, Target, _Evaluated],
    options: Sequence[Option],
    refusals: _Refusals,
) -> dict[str, Decision]:
    option, target, leading = found
    loss = option.loss(_needs(acting, tick))
    pid = option.candidate.leader.pid
    decisions: dict[str, Decision] = {}
    for one in acting:
        refused = refusals[one.rule.key] + _outdone(one.rule, option, options, refusals)
        if one is not leading:
            seen = f"one start a tick: rule {leading.rule.key} chose process {pid}"
            decisions[one.rule.key] = _refused(one, tick, Reason.BUDGET_NODE, seen, refused)
            continue
        held = _held_back(one, option, tick)
        decisions[one.rule.key] = replace(
            _refused(one, tick, held.reason if held else None, held.seen if held else "", refused),
            kind=DecisionKind.WOULD_MOVE if held else DecisionKind.MOVE,
            candidate=option.candidate,
            target=target.node,
            strategy=option.way.strategy,
            expected_loss=loss,
            relieves=option.relieves,
        )
    return decisions


def _outdone(rule: Rule, chosen: Option, options: Sequence[Option], refusals: _Refusals) -> list[_Refusal]:
    """The options of a rule that were not taken although nothing forbids them."""
    refused = {pid for pid, _, _ in refusals[rule.key]}
    left = (one for one in options if one is not chosen and rule.key in one.rules)
    return [
        (one.candidate.leader.pid, *((one.waits.reason, one.waits.seen) if one.waits else _OUTDONE))
        for one in left
        if one.candidate.leader.pid not in refused
    ]


def _held_back(one: _Evaluated, option: Option, tick: _Tick) -> Obstacle | None:
    """Why a choice is only shown, not acted on."""
    if option.waits is not None:
        return option.waits
    if tick.snapshot.toggles.kill_switch:
        return obstacle(Reason.KILL_SWITCH, "the file `disabled` stops every move")
    if one.mode is not Mode.AUTO:
        ceiling = tick.snapshot.toggles.ceiling
        return obstacle(Reason.CEILING, f"the mode is {one.mode} (rule: {one.rule.mode or 'none'}, ceiling: {ceiling})")
    return None


def _refused(
    one: _Evaluated, tick: _Tick, reason: Reason | None, detail: str, considered: Sequence[_Refusal] = ()
) -> Decision:
    return Decision(
        kind=DecisionKind.REFUSED,
        rule=one.rule.key,
        node=tick.policy.head,
        mode=one.mode,
        value=one.verdict.value,
        age_s=one.verdict.age_s,
        threshold=one.verdict.threshold,
        relief=one.verdict.relief,
        reason=reason,
        detail=detail,
        considered=tuple(considered[:_SHOWN]),
    )


def _tally(refused: Sequence[_Refusal]) -> str:
    if not refused:
        return "no job on the node is large enough to matter"
    counts = Counter(reason for _, reason, _ in refused)
    return ", ".join(f"{count} × {reason}" for reason, count in counts.most_common())
