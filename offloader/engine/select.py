"""Which job to move: what a rule may choose, what moving costs, and the cheapest choice that brings relief.

Loss (seconds of somebody's work, per unit of relieved pressure and second of remaining life):

    (work lost + time the job stands still) / (relieved pressure x min(expected remaining life, 10 min))

Lifetimes are heavy-tailed (P(T > t) ~ 1/t: Harchol-Balter & Downey, ACM TOCS 1997), so the expected remaining life is
the age. Relieved pressure counts up to what is needed: a larger job is not better than one that suffices.
Work lost and standstill are estimates, corrected by what earlier moves came out at (correction.py).
A move must pay back: the remaining life must exceed the time that the job stands still. Work lost is not part of that
comparison (a restart would never pass: it loses the age, which is the remaining life); `max_lost_work` bounds it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.programs import matches
from offloader.engine.checkpointing import declared_by
from offloader.engine.connections import allowed_by
from offloader.engine.correction import correction_for
from offloader.engine.remedies import obstacle
from offloader.model import (
    Candidate,
    Corrections,
    Estimate,
    Obstacle,
    ProcessClass,
    Reason,
    Resource,
    Rule,
    StrategyName,
)

__all__ = ["Option", "Way", "assess", "choose", "estimated", "fallbacks", "ways"]

_UNCORRECTED: Corrections = {}

_LIFE_CAP_S = 600.0
_LEAST_RELIEF = 0.02
"""Of the node, in at least one resource: less is lost in the noise of the measurement."""
_RESTART_STOP_S = 5.0  # original frozen until its successor runs, held-first
_CHECKPOINT_LOST_S = 15.0  # most jobs save within seconds; each is given its grace
_LIVE_FIXED_S, _LIVE_BYTES_PER_S = 0.5, 200e6
"""Measured with CRIU's page server: 0.5 s for 200 MB, 4.2 s for 1 GB (4.0 s of it for the bytes)."""


@dataclass(frozen=True, slots=True)
class Way:
    """One strategy for one candidate: what it costs, or what is in its way.

    `lost_s` holds work lost and standstill, `stop_s` the standstill alone. `owner_only`: the owner may go this way
    in spite of `blocked`.
    """

    strategy: StrategyName
    lost_s: float
    stop_s: float
    blocked: Obstacle | None = None
    owner_only: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate that could be chosen: by which way, what it relieves (ratios), at which loss.

    `waits`: why it needs its owner (or an approval) although a rule selects it. `rules`: keys of those that select it.
    """

    candidate: Candidate
    way: Way
    relieves: Mapping[Resource, float]
    waits: Obstacle | None = None
    rules: tuple[str, ...] = ()
    fallbacks: tuple[StrategyName, ...] = ()  # further open ways, the one that loses least first

    def loss(self, needs: Mapping[Resource, float]) -> float:
        """Expected loss per relieved pressure and remaining life; infinite when it relieves nothing needed."""
        relieved = sum(min(self.relieves.get(resource, 0.0), need) for resource, need in needs.items())
        life = min(max(self.candidate.age_s, 1.0), _LIFE_CAP_S)
        return self.way.lost_s / (relieved * life) if relieved > 0 else float("inf")


def assess(
    candidate: Candidate,
    rule: Rule,
    relieves: Mapping[Resource, float],
    available: tuple[StrategyName, ...],
    corrections: Corrections = _UNCORRECTED,
) -> Option | Obstacle:
    """Whether this rule may choose this candidate; an obstacle when not even its owner could change that for the rule.

    Args:
        candidate: A job of the pressed node.
        rule: What it selects and how it moves.
        relieves: The part of the node's pressure that would go with it.
        available: Strategies that this version has.
        corrections: What earlier moves say of estimates.
    """
    candidate = allowed_by(rule, candidate)
    if candidate.obstacles:
        return candidate.obstacles[0]
    refused = _not_selected(candidate, rule)
    if refused is not None:
        return refused
    if relieves.get(rule.resource, 0.0) < _LEAST_RELIEF:
        return obstacle(Reason.NOT_SIGNIFICANT, f"would relieve {relieves.get(rule.resource, 0.0):.1%} {rule.resource}")
    candidate = declared_by(rule, candidate)
    found = ways(candidate, available, rule, corrections)
    way = _best(found)
    if way is None:
        wanted = ", ".join(rule.move.strategies)
        return obstacle(Reason.NO_STRATEGY, f"the rule allows {wanted}; available: {', '.join(available) or 'none'}")
    if way.blocked is not None and not way.owner_only:
        return way.blocked
    owners = [one for one in candidate.owner_only if not (one.reason is Reason.LISTENER and rule.select.listeners)]
    return Option(
        candidate, way, relieves, owners[0] if owners else way.blocked, fallbacks=fallbacks(found, way.strategy)
    )


def ways(
    candidate: Candidate,
    available: tuple[StrategyName, ...],
    rule: Rule | None = None,
    corrections: Corrections = _UNCORRECTED,
) -> tuple[Way, ...]:
    """Every available strategy, in the rule's order; without a rule as its owner would go them."""
    wanted = rule.move.strategies if rule is not None else available
    return tuple(_way(candidate, strategy, rule, corrections) for strategy in wanted if strategy in available)


def estimated(candidate: Candidate, strategy: StrategyName, corrections: Corrections = _UNCORRECTED) -> Estimate:
    """What such a move is expected to cost. Work lost by a live move is the time for which it stands still."""
    match strategy:
        case StrategyName.RESTART:
            lost_s, stop_s = candidate.age_s, _RESTART_STOP_S
        case StrategyName.CHECKPOINT:
            lost_s, stop_s = _CHECKPOINT_LOST_S, _RESTART_STOP_S
        case StrategyName.LIVE:
            stop_s = _LIVE_FIXED_S + candidate.usage.memory_bytes / _LIVE_BYTES_PER_S
            lost_s = stop_s
    return Estimate(
        work_lost_s=lost_s,
        downtime_s=stop_s,
        age_s=candidate.age_s,
        memory_bytes=candidate.usage.memory_bytes,
        cores=candidate.usage.cores,
        gpu_memory_bytes=candidate.usage.gpu_memory_bytes,
        correction=correction_for(corrections, strategy, candidate.leader.process_class),
    )


def fallbacks(found: Sequence[Way], first: StrategyName) -> tuple[StrategyName, ...]:
    """What else may be tried where preflight finds something in the way of the first: open ways, cheapest first."""
    others = [way for way in found if way.blocked is None and way.strategy is not first]
    return tuple(way.strategy for way in sorted(others, key=lambda way: way.lost_s))


def choose(options: Sequence[Option], needs: Mapping[Resource, float]) -> Option:
    """The one to move now: the smallest loss that brings every pressure under relief.

    Those that relieve every firing resource win. Among them either the cheapest one that suffices alone, or the
    first of the cheapest set that does together, whichever loses less work in all; ties by pid.

    Args:
        options: At least one.
        needs: How far each firing resource is above relief (ratios above 0).
    """
    everywhere = [one for one in options if all(_helps(one, resource, need) for resource, need in needs.items())]
    pool = sorted(everywhere or options, key=lambda one: (one.loss(needs), one.candidate.leader.pid))
    several = _enough(pool, needs)
    alone = [one for one in pool if _left([one], needs) <= 0]
    if alone:
        cheapest = min(alone, key=lambda one: (one.way.lost_s, one.loss(needs), one.candidate.leader.pid))
        if cheapest.way.lost_s <= sum(one.way.lost_s for one in several):
            return cheapest
    return several[0]


def _enough(pool: Sequence[Option], needs: Mapping[Resource, float]) -> list[Option]:
    """Cheapest first until relief is reached, less those that turn out not to be needed."""
    chosen: list[Option] = []
    for option in pool:
        if chosen and _left(chosen, needs) <= 0:
            break
        chosen.append(option)
    for option in sorted(chosen, key=lambda one: -one.way.lost_s):
        rest = [one for one in chosen if one is not option]
        if rest and _left(rest, needs) <= 0:
            chosen = rest
    return chosen


def _left(chosen: Sequence[Option], needs: Mapping[Resource, float]) -> float:
    """How much pressure above relief would stay, over all resources."""
    return sum(
        max(0.0, need - sum(one.relieves.get(resource, 0.0) for one in chosen)) for resource, need in needs.items()
    )


def _helps(option: Option, resource: Resource, need: float) -> bool:
    return option.relieves.get(resource, 0.0) >= min(need, _LEAST_RELIEF)


def _not_selected(candidate: Candidate, rule: Rule) -> Obstacle | None:
    select, leader = rule.select, candidate.leader
    if leader.process_class not in select.classes:
        own = {ProcessClass.INTERACTIVE: Reason.INTERACTIVE, ProcessClass.DAEMON: Reason.DAEMON}
        reason = own.get(leader.process_class, Reason.EXCLUDED)
        return obstacle(reason, f"its class is {leader.process_class}, which the rule does not select")
    if select.users and leader.user not in select.users:
        return obstacle(Reason.EXCLUDED, f"the rule does not select user {leader.user}")
    if select.include and not any(matches(member, select.include) for member in candidate.members):
        return obstacle(Reason.EXCLUDED, "no `include` pattern of the rule matches it")
    if any(matches(member, select.exclude) for member in candidate.members):
        return obstacle(Reason.EXCLUDED, "an `exclude` pattern of the rule matches it")
    if candidate.age_s < select.min_age_s:
        return obstacle(Reason.TOO_YOUNG, f"{candidate.age_s:.0f} s old, the rule asks for {select.min_age_s:.0f} s")
    return None


def _best(found: tuple[Way, ...]) -> Way | None:
    """The open way that costs least, else one that the owner could go, else any."""
    return min(found, key=lambda way: (way.blocked is not None, not way.owner_only, way.lost_s), default=None)


def _way(candidate: Candidate, strategy: StrategyName, rule: Rule | None, corrections: Corrections) -> Way:
    estimate = estimated(candidate, strategy, corrections)
    stop_s = estimate.expected_downtime_s
    lost_s = stop_s if strategy is StrategyName.LIVE else estimate.expected_work_lost_s + stop_s
    if strategy is not StrategyName.LIVE and candidate.only_live is not None:
        return Way(strategy, lost_s, stop_s, candidate.only_live)
    if strategy is not StrategyName.LIVE and len(roots := _roots(candidate)) > 1:
        seen = f"{len(roots)} processes side by side ({', '.join(roots)}): a {strategy} starts only one"
        return Way(strategy, lost_s, stop_s, obstacle(Reason.NO_STRATEGY, seen))
    if strategy is not StrategyName.LIVE and candidate.kept_terminal:
        seen = f"`run --local` keeps its terminal, which a {strategy} does not take along"
        return Way(strategy, lost_s, stop_s, obstacle(Reason.TERMINAL, seen))
    if strategy is StrategyName.CHECKPOINT and candidate.checkpointing is None:
        return Way(strategy, lost_s, stop_s, candidate.no_checkpoint)
    blocked = _unwilling(candidate, strategy, rule, stop_s) if rule is not None else None
    return Way(strategy, lost_s, stop_s, blocked, owner_only=blocked is not None)


def _unwilling(candidate: Candidate, strategy: StrategyName, rule: Rule, stop_s: float) -> Obstacle | None:
    """What only the owner may decide to bear.

    The owner's declaration also lifts `max_lost_work`; a pattern in a rule, which others wrote, does not. A lock is
    lifted by nobody's declaration: preflight finds out whether the target sees that file (then nobody may move it),
    and where it does not, the job would leave unguarded what it guards here.
    """
    if strategy is not StrategyName.CHECKPOINT and (locked := _locked(candidate)) is not None:
        return locked
    if strategy is StrategyName.RESTART and not candidate.restart_safe:
        if not matches(candidate.leader, rule.select.restart_safe):
            return obstacle(Reason.NOT_RESTART_SAFE, "nobody declared that it may start again from the beginning")
        if candidate.age_s > rule.move.max_lost_work_s:
            seen = f"{candidate.age_s:.0f} s of work would be lost, {rule.move.max_lost_work_s:.0f} s are allowed"
            return obstacle(Reason.LOSES_TOO_MUCH, seen)
    if candidate.age_s <= stop_s:
        seen = f"would stand still for {stop_s:.0f} s and is expected to live for {candidate.age_s:.0f} s"
        return obstacle(Reason.DOES_NOT_PAY, seen)
    return None


def _locked(candidate: Candidate) -> Obstacle | None:
    """Saving makes a job end and let go by itself; a restart begins while the frozen original still holds its locks."""
    for member in candidate.members:
        if member.locked:
            name = min(member.locked).rpartition("/")[2]
            more = f" (and {len(member.locked) - 1} more)" if len(member.locked) > 1 else ""
            return obstacle(Reason.LOCKED, f"{member.comm} ({member.pid}): holds or awaits a lock on {name}{more}")
    return None


def _roots(candidate: Candidate) -> list[str]:
    """The members that nothing in the job started: a pipeline's parts stand side by side below their shell."""
    pids = {member.pid for member in candidate.members}
    return [member.comm for member in candidate.members if member.ppid not in pids]
