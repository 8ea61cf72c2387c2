"""What one tick knows of each rule, how much it still needs, and the decision that says no."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offloader.engine.guard import in_flight
from offloader.engine.place import shares
from offloader.engine.remedies import obstacle
from offloader.engine.schema import EngineState, Verdict, identity_key
from offloader.model import (
    Decision,
    DecisionKind,
    Mode,
    MoveState,
    Obstacle,
    Policy,
    Reason,
    Resource,
    Rule,
    Snapshot,
    StrategyName,
)

__all__ = ["Evaluated", "Refusal", "Refusals", "Tick", "coming_relief", "declined", "need", "waits_for_moves"]

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
Refusal = tuple[int, Reason, str]  # pid, reason, what was seen
Refusals = dict[str, list[Refusal]]  # by rule key


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A rule of this tick with what came out."""

    rule: Rule
    mode: Mode
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Tick:
    """What every step of planning asks. `coming`: see `coming_relief`."""

    state: EngineState
    snapshot: Snapshot
    policy: Policy
    available: tuple[StrategyName, ...]
    coming: Mapping[Resource, float] | None


def need(one: Evaluated, tick: Tick) -> float:
    """How far this rule's value is above relief, beyond what moves in flight will take away.

    Frozen load was added to the value; it is on its way out, and averages still hold it besides: it is taken off twice,
    so that at worst too little is moved at first.
    """
    resource = one.rule.resource
    coming = tick.coming.get(resource, 0.0) if tick.coming is not None else 0.0
    return one.verdict.excess - 2 * tick.snapshot.frozen_load.get(resource, 0.0) - coming


def coming_relief(snapshot: Snapshot, policy: Policy) -> dict[Resource, float] | None:
    """What moves off the head that are not frozen yet will relieve; None: of one of them that is not known."""
    waiting = {
        identity_key(move.identity)
        for move in in_flight(snapshot.moves)
        if move.source == policy.head and move.state in _NOT_FROZEN_YET
    }
    found: dict[Resource, float] = {}
    head = snapshot.nodes.get(policy.head)
    for candidate in snapshot.candidates if waiting and head is not None else ():
        moving = waiting & {identity_key(member.identity) for member in candidate.members}
        if moving and head is not None:
            waiting -= moving
            for resource, share in shares(candidate.usage, head.total).items():
                found[resource] = found.get(resource, 0.0) + share
    return found if not waiting else None


def waits_for_moves(one: Evaluated, tick: Tick) -> Obstacle | None:
    """Nothing more is moved while what is in flight should suffice, or cannot be told to."""
    head = tick.policy.head
    ids = ", ".join(move.id for move in in_flight(tick.snapshot.moves) if move.source == head)
    if tick.coming is None:
        return obstacle(Reason.ALREADY_MOVING, f"what {ids} will relieve is not known")
    if need(one, tick) <= 0:
        return obstacle(Reason.ALREADY_MOVING, f"{ids or 'a move'} is expected to bring relief")
    return None


def declined(
    one: Evaluated, tick: Tick, reason: Reason | None, detail: str, considered: Sequence[Refusal] = ()
) -> Decision:
    """The decision not to move anything for this rule in this tick; `considered`: candidates and what is wrong."""
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
