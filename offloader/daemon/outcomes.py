"""What is known of a move when it is decided, and what Prometheus shows once it is over. Pure but for the journal."""

from __future__ import annotations

from dataclasses import dataclass, replace

from offloader.daemon.setup import Setup
from offloader.daemon.snapshot import Measured
from offloader.engine.place import shares
from offloader.engine.select import estimated
from offloader.jobs.receipt import Record, committed_t, compose, judged, stopped_t
from offloader.jobs.receipt_json import decided_from
from offloader.jobs.store import DECIDED, Reader
from offloader.model import (
    Capacity,
    Decided,
    Decision,
    Move,
    MoveState,
    Pressures,
    Reading,
    Reason,
    Receipt,
    Rule,
    Snapshot,
)
from offloader.moves.plan import MovePlan

__all__ = ["Due", "beside", "decided_of", "due_of", "outcome", "record_of", "shown"]

_LOOKS = 4
"""A node that was just down, or a sample that came late, is looked for so often, a scrape apart."""


@dataclass(frozen=True, slots=True)
class Due:
    """When a move shows in its source's pressure: Unix seconds. `looks`: moments to look at, the earliest first."""

    committed_t: float
    looks: tuple[float, ...]


def decided_of(asked: MovePlan, decision: Decision | None, snapshot: Snapshot) -> Decided:
    """The source's pressures, the value of the rule that asked, and what is expected.

    Args:
        asked: What is about to be done.
        decision: The rule's; None where a person asked.
        snapshot: What it was decided from.
    """
    candidate = asked.candidate
    node = snapshot.nodes.get(candidate.node)
    rule = snapshot.values.get((decision.rule, candidate.node)) if decision is not None else None
    estimate = estimated(candidate, asked.strategy, snapshot.corrections)
    relieves = shares(candidate.usage, node.total if node is not None else Capacity())
    return Decided(
        process_class=candidate.leader.process_class,
        before=Pressures(snapshot.now, dict(node.pressure) if node is not None else {}, rule),
        estimate=replace(estimate, relieves=relieves),
        threshold=decision.threshold if decision is not None else None,
        relief=decision.relief if decision is not None else None,
    )


def record_of(store: Reader, move: Move) -> Record:
    """Everything that the journal holds of a move and its job. Raises JournalError."""
    return Record(move, store.timeline(move.id), store.attempts(move.job), store.moves_of_job(move.job))


def due_of(record: Record, setup: Setup) -> Due | None:
    """None: nothing left its source, so there is nothing to look at."""
    since = committed_t(record.steps)
    if record.move.state is not MoveState.DONE or since is None:
        return None
    scrape_s = setup.cluster.prometheus.scrape_interval_s
    first = since + longest_s(record.move, setup) + scrape_s
    return Due(since, tuple(first + number * scrape_s for number in range(_LOOKS)))


def outcome(measured: Measured, t: float, move: Move, due: Due, setup: Setup) -> Pressures:
    """The source as it was at `t`, less what still holds the time before the commit."""
    node = measured.nodes.get(move.source)
    rule, reading = _rule(move, setup), None
    if move.rule is not None:
        unknown = Reading(move.source, problem=Reason.NO_DATA, detail=f"rule {move.rule} is not loaded any more")
        reading = measured.values.get((move.rule, move.source), unknown) if rule is not None else unknown
    seen = Pressures(t, dict(node.pressure) if node is not None else {}, reading)
    return judged(seen, due.committed_t, setup.look_backs, _looks_back(rule, setup) if rule is not None else None)


def beside(store: Reader, move: Move, decided: Decided, until_t: float, setup: Setup) -> tuple[str, ...]:
    """Other moves off the same node that show in the difference of its pressures. Raises JournalError."""
    since_t = decided.before.t - longest_s(move, setup)
    return tuple(
        other.id
        for other in reversed(store.moves(since=since_t))
        if other.source == move.source and other.id != move.id and _left_by(store, other, until_t)
    )


def shown(store: Reader, setup: Setup, move: Move, now: float) -> tuple[Receipt, float | None] | None:
    """A move's receipt and None, or as far as it is known and when the rest can be; None: there is none to come.

    Raises JournalError.
    """
    written = store.receipt(move.id)
    if written is not None:
        return written, None
    kept = store.fact(move.id, DECIDED)
    if kept is None or not move.state.final:
        return None
    decided, record = decided_from(kept), record_of(store, move)
    due, after = due_of(record, setup), None
    if due is not None:
        to_come = Reading(move.source, problem=Reason.LOOK_BACK, detail="still to come")
        rule = to_come if move.rule is not None else None
        after = Pressures(due.looks[0], dict.fromkeys(decided.before.readings, to_come), rule)
    return compose(record, decided, after, beside=(), t=now), due.looks[0] if due is not None else now


def longest_s(move: Move, setup: Setup) -> float:
    """How far back the pressures of this move's source look, seconds."""
    rule = _rule(move, setup)
    return max((*setup.look_backs.values(), rule.look_back_s if rule is not None else 0.0), default=0.0)


def _rule(move: Move, setup: Setup) -> Rule | None:
    return next((rule for rule in setup.rules if rule.key == move.rule), None)


def _looks_back(rule: Rule, setup: Setup) -> float | None:
    """None: it may read a recorded series of which no rule was found."""
    return rule.look_back_s if rule.look_back_s > 0 or rule.resource in setup.look_backs else None


def _left_by(store: Reader, move: Move, t: float) -> bool:
    """Whether its work was gone, or stood still, by then, and did not come back."""
    if move.state in (MoveState.ROLLING_BACK, MoveState.ROLLED_BACK):
        return False
    since = stopped_t(store.timeline(move.id))
    return since is not None and since <= t
