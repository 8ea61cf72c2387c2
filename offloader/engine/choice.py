"""Which job all acting rules together move now, and where to: one start at most."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from offloader.engine.approval import proposed
from offloader.engine.evaluate import stale_after_s
from offloader.engine.guard import process_limits
from offloader.engine.notice import under_notice
from offloader.engine.place import place, shares, usable
from offloader.engine.remedies import obstacle
from offloader.engine.schema import Target
from offloader.engine.select import Option, assess, choose
from offloader.engine.tick import Evaluated, Refusal, Refusals, Tick, declined, need
from offloader.model import Decision, DecisionKind, Mode, NodeView, Obstacle, Reason, Resource, Rule

__all__ = ["choose_for"]

_OUTDONE = (Reason.BUDGET_NODE, "one start a tick: another job loses less")


def choose_for(acting: Sequence[Evaluated], tick: Tick) -> dict[str, Decision]:
    """One start at most for all of these rules."""
    options, refusals = _options(acting, tick)
    for pool in _pools(options, tick):
        found = _first_with_place(pool, acting, tick, refusals)
        if found is not None:
            return _chosen(acting, tick, found, options, refusals)
    decisions: dict[str, Decision] = {}
    for one in acting:
        refused = refusals[one.rule.key]
        homeless = next((seen for _, reason, seen in refused if reason is Reason.NO_TARGET), None)
        reason = Reason.NO_TARGET if homeless is not None else Reason.NO_CANDIDATE
        decisions[one.rule.key] = declined(one, tick, reason, homeless or _tally(refused), refused)
    return decisions


def _options(acting: Sequence[Evaluated], tick: Tick) -> tuple[list[Option], Refusals]:
    """What could be chosen, each candidate once with all it relieves; and why the others cannot, by rule."""
    head = tick.snapshot.nodes[tick.policy.head]
    refusals: Refusals = {one.rule.key: [] for one in acting}
    options: list[Option] = []
    for candidate in tick.snapshot.candidates:
        if candidate.node != head.name:
            continue
        limit = process_limits(candidate, tick.state, tick.snapshot, tick.policy) if candidate.movable else None
        relief = shares(candidate.usage, head.total)
        accepted: list[tuple[Rule, Option]] = []
        for one in acting:
            result = limit or assess(candidate, one.rule, relief, tick.available, tick.snapshot.corrections)
            if isinstance(result, Obstacle):
                refusals[one.rule.key].append((candidate.leader.pid, result.reason, result.seen))
            else:
                accepted.append((one.rule, result))
        if accepted:
            options.append(_merged(accepted, relief))
    return options, refusals


def _pools(options: Sequence[Option], tick: Tick) -> tuple[list[Option], ...]:
    """In the order in which they are tried.

    What somebody agreed to, what was announced to its owner or proposed, the rest, and what waits for its owner. The
    last is only proposed, and only when nothing else is there; what was proposed of it comes first.
    """
    agreed: list[Option] = []
    announced: list[Option] = []
    free: list[Option] = []
    pending: list[Option] = []
    waiting: list[Option] = []
    for one in options:
        held = proposed(one.candidate, tick.state.proposals)
        told = held is not None or under_notice(one.candidate, tick.state.notices) is not None
        if held is not None and held.approved:
            agreed.append(one)
        elif one.waits is not None:
            (pending if held is not None else waiting).append(one)
        else:
            (announced if told else free).append(one)
    return agreed, announced, free, pending, waiting


def _merged(accepted: Sequence[tuple[Rule, Option]], relief: Mapping[Resource, float]) -> Option:
    """One option for all rules that accept a candidate; those for which it waits for its owner do not hold it up."""
    free = [(rule, option) for rule, option in accepted if option.waits is None] or accepted
    resources = {rule.resource for rule, _ in free}
    relieves = {resource: part for resource, part in relief.items() if resource in resources}
    return replace(free[0][1], relieves=relieves, rules=tuple(rule.key for rule, _ in free))


def _first_with_place(
    pool: list[Option], acting: Sequence[Evaluated], tick: Tick, refusals: Refusals
) -> tuple[Option, Target, Evaluated] | None:
    """The best of the pool that fits somewhere. Those that fit nowhere are refused, and the choice is made again."""
    snapshot, policy = tick.snapshot, tick.policy
    limit = stale_after_s(policy, snapshot.scrape_interval_s)
    open_nodes = usable(snapshot.nodes.values(), policy, stale_after_s=limit)
    closed = {name: node for name, node in snapshot.nodes.items() if name not in open_nodes}
    why_closed = ""
    while pool:
        option = choose(pool, _needs(acting, tick))
        rule = _leading(option, acting, tick)
        found = _placed(option, rule.rule, open_nodes, tick)
        if isinstance(found, Target):
            return option, found, rule
        if not why_closed:
            why_closed = _seen(place(option.candidate, closed, snapshot.reserved, policy, stale_after_s=limit))
        seen = f"{found.seen}; {why_closed}" if open_nodes else why_closed
        for key in option.rules:
            refusals[key].append((option.candidate.leader.pid, Reason.NO_TARGET, seen))
        pool = [one for one in pool if one is not option]
    return None


def _placed(option: Option, rule: Rule, nodes: Mapping[str, NodeView], tick: Tick) -> Target | Obstacle:
    """What was proposed keeps its target while that is possible; what was agreed to has no other."""
    snapshot, policy = tick.snapshot, tick.policy
    limit = stale_after_s(policy, snapshot.scrape_interval_s)
    find = partial(place, option.candidate, nodes, snapshot.reserved, policy, stale_after_s=limit)
    held, allowed = proposed(option.candidate, tick.state.proposals), rule.move.nodes
    if held is not None and (not allowed or held.target in allowed):
        found = find(allowed=(held.target,))
        if held.approved or isinstance(found, Target):
            return found
    return find(allowed=allowed)


def _seen(found: Target | Obstacle) -> str:
    return found.seen if isinstance(found, Obstacle) else ""


def _needs(acting: Sequence[Evaluated], tick: Tick) -> dict[Resource, float]:
    """How far each firing resource is above relief, by the rule that asks for most."""
    needs: dict[Resource, float] = {}
    for one in acting:
        needs[one.rule.resource] = max(needs.get(one.rule.resource, 0.0), need(one, tick))
    return needs


def _leading(option: Option, acting: Sequence[Evaluated], tick: Tick) -> Evaluated:
    """The rule in whose name the option is moved: of those that accept it, the one in the greatest need."""
    return max((one for one in acting if one.rule.key in option.rules), key=lambda one: need(one, tick))


def _chosen(
    acting: Sequence[Evaluated],
    tick: Tick,
    found: tuple[Option, Target, Evaluated],
    options: Sequence[Option],
    refusals: Refusals,
) -> dict[str, Decision]:
    option, target, leading = found
    loss = option.loss(_needs(acting, tick))
    pid = option.candidate.leader.pid
    decisions: dict[str, Decision] = {}
    for one in acting:
        refused = refusals[one.rule.key] + _outdone(one.rule, option, options, refusals)
        if one is not leading:
            seen = f"one start a tick: rule {leading.rule.key} chose process {pid}"
            decisions[one.rule.key] = declined(one, tick, Reason.BUDGET_NODE, seen, refused)
            continue
        held = _held_back(one, option, tick)
        decisions[one.rule.key] = replace(
            declined(one, tick, held.reason if held else None, held.seen if held else "", refused),
            kind=DecisionKind.WOULD_MOVE if held else DecisionKind.MOVE,
            candidate=option.candidate,
            target=target.node,
            strategy=option.way.strategy,
            fallbacks=option.fallbacks,
            expected_loss=loss,
            relieves=option.relieves,
        )
    return decisions


def _outdone(rule: Rule, chosen: Option, options: Sequence[Option], refusals: Refusals) -> list[Refusal]:
    """The options of a rule that were not taken although nothing forbids them."""
    refused = {pid for pid, _, _ in refusals[rule.key]}
    left = (one for one in options if one is not chosen and rule.key in one.rules)
    return [
        (one.candidate.leader.pid, *((one.waits.reason, one.waits.seen) if one.waits else _OUTDONE))
        for one in left
        if one.candidate.leader.pid not in refused
    ]


def _held_back(one: Evaluated, option: Option, tick: Tick) -> Obstacle | None:
    """Why a choice is only shown, not acted on."""
    if option.waits is not None:
        return option.waits
    if tick.snapshot.toggles.kill_switch:
        return obstacle(Reason.KILL_SWITCH, "the file `disabled` stops every move")
    if one.mode is Mode.APPROVE:
        return obstacle(Reason.APPROVAL, "the mode is approve: somebody has to agree")
    if one.mode is not Mode.AUTO:
        ceiling = tick.snapshot.toggles.ceiling
        return obstacle(
            Reason.CEILING, f"the mode is {one.mode} (of the rule {one.rule.mode or 'none'}, ceiling {ceiling})"
        )
    return None


def _tally(refused: Sequence[Refusal]) -> str:
    if not refused:
        return "no job on the node is large enough to matter"
    counts = Counter(reason for _, reason, _ in refused)
    told = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
    return f"none of the {len(refused)} largest jobs may be moved ({told})"
