"""Why one process is moved, or is not: verdict, every rule's answer, ways, targets, and what to type.

What rules say is that of the last tick; the job and whether a rule would choose it are looked at afresh, also when no
rule fires: people ask before there is trouble.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from offloader.engine.evaluate import stale_after_s
from offloader.engine.explain import furthest
from offloader.engine.guard import process_limits
from offloader.engine.meanings import MEANINGS
from offloader.engine.place import place, place_on, predict, shares
from offloader.engine.remedies import obstacle
from offloader.engine.schema import EngineState, RulePhase, Target
from offloader.engine.select import Option, Way, assess, ways
from offloader.model import (
    Candidate,
    Capacity,
    Decision,
    DecisionKind,
    Obstacle,
    Policy,
    Reason,
    Resource,
    Role,
    Rule,
    Snapshot,
    StrategyName,
)

__all__ = ["Expected", "RuleAnswer", "TargetAnswer", "Verdict", "WhyProcess", "why"]


class Verdict(StrEnum):
    """What becomes of a job, the strongest first."""

    MOVING = "moving"  # a move is under way
    NEVER = "never"  # for what it is, by nobody
    BLOCKED = "blocked"  # for the state it is in, by nobody; that may change
    MOVES = "moves"  # a rule moves it now
    WOULD_MOVE = "would_move"  # a rule chose it, and something holds that back
    OWNER_ONLY = "owner_only"  # not by a rule; its owner may
    NOT_NOW = "not_now"  # a rule could, but none does now


@dataclass(frozen=True, slots=True)
class RuleAnswer:
    """What one rule says: of itself (`decision`, `phase`) and of the job.

    `choice` is how it would move the job if it acted, or why it would not choose it.
    """

    rule: Rule
    decision: Decision
    phase: RulePhase
    choice: Option | Obstacle

    @property
    def against(self) -> Obstacle | None:
        """What speaks against the job, whatever the rule itself says; None: nothing."""
        return self.choice.waits if isinstance(self.choice, Option) else self.choice


@dataclass(frozen=True, slots=True)
class Expected:
    """One resource of a target: its pressure now and with the job, and what it must stay below (ratios)."""

    now: float | None
    predicted: float
    limit: float
    threshold: float


@dataclass(frozen=True, slots=True)
class TargetAnswer:
    """A worker with the pressures it would have, and what speaks against it."""

    node: str
    expected: dict[Resource, Expected]
    obstacles: tuple[Obstacle, ...]


@dataclass(frozen=True, slots=True)
class WhyProcess:
    """Why one job is, or is not, moved. `target` is where it would go; `relieves` the share of the head it uses."""

    candidate: Candidate
    verdict: Verdict
    reason: Reason | None
    sentence: str
    remedy: str
    rules: tuple[RuleAnswer, ...]
    ways: tuple[Way, ...]
    targets: tuple[TargetAnswer, ...]
    target: str | None
    relieves: dict[Resource, float]
    commands: dict[str, str]


def why(
    candidate: Candidate,
    rules: Sequence[Rule],
    decisions: Sequence[Decision],
    *,
    state: EngineState,
    snapshot: Snapshot,
    policy: Policy,
    available: tuple[StrategyName, ...] = (StrategyName.RESTART,),
    held_back: Obstacle | None = None,
) -> WhyProcess:
    """Everything about moving one job (`candidate_for` of a pid): verdict, rules, ways, targets, commands.

    Args:
        candidate: The job, fresh.
        rules: All loaded rules.
        decisions: Those of the last tick.
        state: What that tick left.
        snapshot: The one that they were made from, with the toggles as they are now.
        policy: What holds for all rules.
        available: Strategies that can be carried out.
        held_back: Why decisions are not acted on although the ceiling lets them (the controller only records).
    """
    head = snapshot.nodes.get(policy.head)
    relieves = shares(candidate.usage, head.total) if head is not None else {}
    limit = process_limits(candidate, state, snapshot, policy) if candidate.movable else None
    by_rule = {decision.rule: decision for decision in decisions}
    answers = tuple(
        RuleAnswer(
            rule,
            by_rule[rule.key],
            state.rules[rule.key, policy.head].phase,
            limit or assess(candidate, rule, relieves, available, snapshot.corrections),
        )
        for rule in rules
        if rule.key in by_rule
    )
    open_ways = ways(candidate, available, corrections=snapshot.corrections)
    found = place(candidate, snapshot.nodes, snapshot.reserved, policy, stale_after_s=_limit_s(snapshot, policy))
    verdict, said = _verdict(candidate, answers, open_ways, found, held_back)
    return WhyProcess(
        candidate=candidate,
        verdict=verdict,
        reason=said.reason if said else None,
        sentence=_sentence(verdict, said, _choosing(candidate, answers)),
        remedy=said.remedy.replace("PID", str(candidate.leader.pid)) if said else "",
        rules=answers,
        ways=open_ways,
        targets=tuple(_targets(candidate, snapshot, policy)),
        target=found.node if isinstance(found, Target) else None,
        relieves=relieves,
        commands=_commands(candidate, open_ways),
    )


_IN_A_STATE = frozenset(
    {
        Reason.FILE_TRANSFER,
        Reason.OPTED_OUT,
        Reason.KEPT,
        Reason.STOPPED,
        Reason.TRACED,
        Reason.UNREADABLE,
        Reason.OPEN_EDGE,
        Reason.LOCKED,
        Reason.CREDENTIALS,
        Reason.REMOTE_CONNECTION,
    }
)
"""Reasons that nobody passes over and that can end: the debugger is detached, the connection closed."""


def _verdict(
    candidate: Candidate,
    answers: Sequence[RuleAnswer],
    open_ways: Sequence[Way],
    found: Target | Obstacle,
    held_back: Obstacle | None,
) -> tuple[Verdict, Obstacle | None]:
    """The strongest thing that can be said, and what says it."""
    moving = next((one for one in candidate.obstacles if one.reason is Reason.ALREADY_MOVING), None)
    if moving is not None:
        return Verdict.MOVING, moving
    if candidate.obstacles:
        first = candidate.obstacles[0]
        return (Verdict.BLOCKED if first.reason in _IN_A_STATE else Verdict.NEVER), first
    chosen = _choosing(candidate, answers)
    if chosen is not None and chosen.kind is DecisionKind.MOVE:
        return (Verdict.MOVES if held_back is None else Verdict.WOULD_MOVE), held_back
    if chosen is not None and all(one.against is None for one in answers if one.decision is chosen):
        return Verdict.WOULD_MOVE, _said(chosen)  # what waits for its owner is only proposed by its rule
    shut = [way.blocked for way in open_ways if way.blocked is not None and not way.owner_only]
    if len(shut) == len(open_ways):
        return Verdict.BLOCKED, shut[0] if shut else obstacle(Reason.NO_STRATEGY, "this version has no way to move it")
    return _undecided(candidate, answers, found)


def _undecided(
    candidate: Candidate, answers: Sequence[RuleAnswer], found: Target | Obstacle
) -> tuple[Verdict, Obstacle | None]:
    """For a job that could be moved, and that no rule chose."""
    listeners = any(one.rule.select.listeners for one in answers)
    owners = [one for one in candidate.owner_only if not (one.reason is Reason.LISTENER and listeners)]
    free = [one.decision for one in answers if one.against is None]
    waits = [one.choice.waits for one in answers if isinstance(one.choice, Option) and one.choice.waits is not None]
    if owners or (waits and not free):
        return Verdict.OWNER_ONLY, (owners or waits)[0]
    decision = furthest(free)
    if decision is not None:
        return Verdict.NOT_NOW, _considered(candidate, decision) or _idle(decision, found)
    against = [one.against for one in answers if one.against is not None]
    if not against:
        return Verdict.NOT_NOW, Obstacle(Reason.RULE_FALSE, "no offload rules are loaded")
    return Verdict.NOT_NOW, min(against, key=lambda one: one.reason in _LEAST_TELLING)


_LEAST_TELLING = frozenset({Reason.NOT_SIGNIFICANT, Reason.EXCLUDED})
"""What the rules for other resources and other work say of most jobs."""


def _idle(decision: Decision, found: Target | Obstacle) -> Obstacle | None:
    """Why the rule itself does not act; without pressure also whether the job would have a place. None: it may next."""
    if decision.candidate is not None:  # why that one was chosen, or waits, is its owner's matter
        return obstacle(Reason.BUDGET_NODE, f"rule {decision.rule} chose another job")
    if decision.reason in (Reason.NO_CANDIDATE, Reason.NO_TARGET):
        return None  # it looked before this job was there, or was what it is now
    said = _said(decision)
    if said is None or said.reason is not Reason.RULE_FALSE:
        return said
    place = f"it could go to {found.node}" if isinstance(found, Target) else f"no worker could take it: {found.seen}"
    return Obstacle(said.reason, f"{said.seen} ({place})", said.remedy)


def _choosing(candidate: Candidate, answers: Iterable[RuleAnswer]) -> Decision | None:
    """The decision that chose this job."""
    decisions = (one.decision for one in answers)
    return next((one for one in decisions if one.candidate and one.candidate.identity == candidate.identity), None)


def _considered(candidate: Candidate, decision: Decision) -> Obstacle | None:
    """Why the tick passed the job over although the rule may choose it: no place, or another job loses less."""
    pid = candidate.leader.pid
    return next((obstacle(reason, seen) for one, reason, seen in decision.considered if one == pid), None)


def _said(decision: Decision) -> Obstacle | None:
    if decision.reason is None:
        return None
    named = f"rule {decision.rule}: {decision.detail}" if decision.detail else f"rule {decision.rule}"
    return obstacle(decision.reason, named)


_LEADS = {
    Verdict.MOVING: "It is being moved now",
    Verdict.NEVER: "It is never moved",
    Verdict.BLOCKED: "It cannot be moved as it is",
    Verdict.MOVES: "It is moved",
    Verdict.WOULD_MOVE: "It would be moved",
    Verdict.OWNER_ONLY: "No rule moves it, only its owner may",
    Verdict.NOT_NOW: "It is not moved now",
}


def _sentence(verdict: Verdict, said: Obstacle | None, chosen: Decision | None) -> str:
    """What becomes of it, what was seen, and why that matters."""
    lead, seen = _LEADS[verdict], said.seen if said is not None else ""
    if chosen is not None and verdict in (Verdict.MOVES, Verdict.WOULD_MOVE):
        lead = f"{lead} to {chosen.target} by {chosen.strategy}, for rule {chosen.rule}"
        seen = chosen.detail or seen
    elif said is None:
        seen = "the rules have not looked at it yet, and may choose it next"
    told = f"{lead}{'. ' if ': ' in seen else ': '}{seen}." if seen else f"{lead}."
    return told if said is None else f"{told} {MEANINGS[said.reason]}"


def _targets(candidate: Candidate, snapshot: Snapshot, policy: Policy) -> list[TargetAnswer]:
    """Every worker, with what it would be with the job or what keeps it from that."""
    limit_s = _limit_s(snapshot, policy)
    found: list[TargetAnswer] = []
    for name, node in sorted(snapshot.nodes.items()):
        if node.role is Role.HEAD:
            continue
        taken = snapshot.reserved.get(name, Capacity())
        expected = {
            resource: Expected(
                now=reading.value if (reading := node.pressure.get(resource)) is not None else None,
                predicted=value,
                limit=policy.thresholds[resource] * (1 - policy.target_margin),
                threshold=policy.thresholds[resource],
            )
            for resource, value in predict(candidate, node, taken).items()
        }
        obstacles = place_on(candidate, name, snapshot.nodes, snapshot.reserved, policy, stale_after_s=limit_s)
        found.append(TargetAnswer(name, expected, obstacles))
    return found


def _limit_s(snapshot: Snapshot, policy: Policy) -> float:
    return stale_after_s(policy, snapshot.scrape_interval_s)


def _commands(candidate: Candidate, open_ways: Sequence[Way]) -> dict[str, str]:
    """What its owner types to try and to do it, and what keeps it here from its start on."""
    pid = candidate.leader.pid
    forbid = {"keep": f"grid-offloader keep {pid}", "forbid": "GRID_OFFLOAD=never COMMAND..."}
    if candidate.obstacles:
        return {"forbid": forbid["forbid"]}
    if not any(way.blocked is None or way.owner_only for way in open_ways):
        return forbid
    return {"plan": f"grid-offloader move {pid} --dry-run", "move": f"grid-offloader move {pid}", **forbid}
