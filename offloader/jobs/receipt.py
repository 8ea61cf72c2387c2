"""The receipt of a move, put together from what the journal holds of it: what it was worth, and what it cost. Pure.

What cannot be told stays unknown, with the reason; what is known to be no more than so much says that it is a bound.
Times are Unix seconds, by the clock of whoever wrote them down: steps by the head's, ends of attempts by their node's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from offloader.jobs.store import Step
from offloader.model import (
    Attempt,
    AttemptState,
    Completion,
    Decided,
    Figure,
    Job,
    JobState,
    Loss,
    Move,
    MoveState,
    Pressures,
    Reading,
    Reason,
    Receipt,
    Resource,
    StrategyName,
)

__all__ = ["Record", "committed_t", "compose", "judged", "later_losses", "settled", "stopped_t"]

_STOPPED = (MoveState.FROZEN, MoveState.SAVED)
"""A job that saves and ends by itself is never frozen: then it stood still from *saved* on."""

_SAVES = "it saves its work, and when it last did is not known"
_LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Record:
    """What the journal holds of a move, and of its job: every attempt by ascending epoch, every move in their order."""

    move: Move
    steps: Sequence[Step]
    attempts: Sequence[Attempt]
    moves: Sequence[Move]

    def attempt(self, epoch: int) -> Attempt | None:
        """The attempt of that epoch."""
        return next((one for one in self.attempts if one.epoch == epoch), None)

    @property
    def saves(self) -> bool:
        """Whether the job is known to save its work: what it loses may be less than all since its start."""
        resumed = any(one.resumed_t is not None for one in self.attempts)
        return resumed or any(one.strategy is StrategyName.CHECKPOINT for one in self.moves)

    @property
    def started_again(self) -> bool:
        """Whether the roll-back found no original to go on, and had it started again at its source."""
        if self.move.state is not MoveState.ROLLED_BACK:
            return False
        following = self.attempt(self.move.to_epoch + 1)
        by_a_move = any(one.to_epoch == self.move.to_epoch + 1 for one in self.moves)
        return following is not None and following.backend == _LOCAL and not by_a_move


def compose(record: Record, decided: Decided, after: Pressures | None, *, beside: Sequence[str], t: float) -> Receipt:
    """The receipt of a move that is over.

    Args:
        record: What the journal holds.
        decided: What was known when it was decided.
        after: The source once the move showed; None where nothing left it.
        beside: Ids of other moves off the same node that the pressures hold, too.
        t: When it is written.
    """
    move = record.move
    downtime = _downtime(record)
    return Receipt(
        move=move.id,
        job=move.job,
        strategy=move.strategy,
        outcome=move.state,
        source=move.source,
        rule=move.rule,
        t=t,
        decided=decided,
        after=after,
        downtime_s=downtime,
        work_lost_s=_work_lost(record, downtime),
        bytes_moved=_bytes_moved(record),
        steps=tuple((one.state, max(0.0, after_it.t - one.t)) for one, after_it in pairwise(record.steps)),
        beside=tuple(beside),
    )


def committed_t(steps: Sequence[Step]) -> float | None:
    """When the original had been ended and its load was gone from its source; None: it never was."""
    return next((step.t for step in steps if step.state is MoveState.ENDED), None)


def stopped_t(steps: Sequence[Step]) -> float | None:
    """From when on the work stood still; None: it was never stopped."""
    return next((step.t for step in steps if step.state in _STOPPED), None)


def judged(seen: Pressures, since_t: float, look_backs: Mapping[Resource, float], rule_s: float | None) -> Pressures:
    """What of these readings is an outcome: those that hold nothing from before `since_t`; the rest is unknown.

    Args:
        seen: The source, some time after the commit.
        since_t: The commit.
        look_backs: How far back the pressure of a resource looks, seconds; absent: that is not known.
        rule_s: How far back the rule looks that asked; None: that is not known.
    """
    readings = {name: _after(one, seen.t, since_t, look_backs.get(name)) for name, one in seen.readings.items()}
    rule = _after(seen.rule, seen.t, since_t, rule_s) if seen.rule is not None else None
    return replace(seen, readings=readings, rule=rule)


def settled(seen: Pressures) -> bool:
    """Whether every reading has a value: there is nothing to wait for any more."""
    every = (*seen.readings.values(), *((seen.rule,) if seen.rule is not None else ()))
    return bool(seen.readings) and all(one.value is not None for one in every)


def later_losses(record: Record, job: Job) -> tuple[Loss, ...]:
    """Work that the job lost after this move and before its next one: attempts that ended and whose work was repeated.

    An attempt that ended well, failed for good or was ended for its owner has lost nothing: that was its end.
    """
    move = record.move
    first = move.to_epoch if move.state is MoveState.DONE else move.to_epoch + 1
    until = min((one.to_epoch for one in record.moves if one.to_epoch > move.to_epoch), default=math.inf)
    handed_over = {one.from_epoch for one in record.moves if one.state is MoveState.DONE}
    between = [one for one in record.attempts if first <= one.epoch < until]
    found = []
    for attempt in between:
        following = [one for one in between if one.epoch > attempt.epoch]
        if _lost(attempt) and attempt.epoch not in handed_over and (following or job.state is JobState.LOST):
            found.append(_loss(record, attempt, following))
    return tuple(found)


def _lost(attempt: Attempt) -> bool:
    """Whether it came to life and ended otherwise than well."""
    over = attempt.state is AttemptState.ENDED and attempt.pid is not None and attempt.ended_t is not None
    return over and attempt.completion.exit_code != 0


def _loss(record: Record, attempt: Attempt, following: Sequence[Attempt]) -> Loss:
    again = next((one for one in following if one.pid is not None), None)
    ended_t = attempt.ended_t or 0.0
    if again is None and following:
        return Loss(attempt.epoch, attempt.node, ended_t, Figure(None, "known once it runs again"), "", None)
    began = _began(record, attempt.epoch)
    since, bound = ("start", _SAVES if record.saves else "")
    if again is not None and again.resumed_t is not None:
        began, since, bound = again.resumed_t, "checkpoint", ""
    if attempt.completion == Completion():
        bound = "when it ended is not known, only when that was found"
    where = again.node if again is not None else None
    return Loss(attempt.epoch, attempt.node, ended_t, _span(began, ended_t, bound), since, where)


def _downtime(record: Record) -> Figure:
    move, since = record.move, stopped_t(record.steps)
    if move.state is MoveState.DONE:
        known = move.downtime_s is not None
        return Figure(move.downtime_s) if known else Figure(None, "the controller was restarted while it stood still")
    if move.state is MoveState.LOST:
        return Figure(None, "it did not go on")
    if since is None:
        return Figure(0.0)
    if record.started_again:
        return Figure(None, f"its original was ended, and it was to start again on {move.source}")
    return _span(since, record.steps[-1].t, "it was thawed before its roll-back was over")


def _work_lost(record: Record, downtime: Figure) -> Figure:
    move, until = record.move, stopped_t(record.steps)
    if move.state is MoveState.ROLLED_BACK and not record.started_again:
        return Figure(0.0)
    if move.work_lost_s is not None:
        return Figure(move.work_lost_s)
    if move.strategy is StrategyName.LIVE and move.state is MoveState.DONE:
        return downtime
    if until is None:
        return Figure(None, "when its work was stopped is not known")
    return _span(_began(record, move.from_epoch), until, _SAVES if record.saves else "")


def _bytes_moved(record: Record) -> Figure:
    move = record.move
    if move.bytes_moved is not None:
        return Figure(move.bytes_moved)
    if move.strategy is StrategyName.RESTART or stopped_t(record.steps) is None:
        return Figure(0)
    return Figure(None, f"strategy {move.strategy} did not say")


def _began(record: Record, epoch: int) -> float | None:
    """From when on the work of this attempt was done: a live move takes it along. None: there is no such attempt."""
    attempt = record.attempt(epoch)
    came = next((one for one in record.moves if one.to_epoch == epoch and one.state is MoveState.DONE), None)
    if came is not None and came.strategy is StrategyName.LIVE:
        return _began(record, came.from_epoch)
    return attempt.started_t if attempt is not None else None


def _span(since: float | None, until: float, bound: str) -> Figure:
    """From then to then; clocks that disagree do not make it negative. `bound`: why it is only an upper one."""
    if since is None:
        return Figure(None, "when its work began is not known")
    return Figure(max(0.0, until - since), bound, at_most=bool(bound))


def _after(reading: Reading, t: float, since_t: float, look_back_s: float | None) -> Reading:
    if reading.value is None:
        return reading
    if look_back_s is None:
        return _unknown(reading, "how far back it looks is not known: no recording rule of it was found")
    if reading.age_s is None or t - reading.age_s - look_back_s < since_t:
        return _unknown(reading, f"its window of {look_back_s:.0f} s still held the time before the move")
    return reading


def _unknown(reading: Reading, why: str) -> Reading:
    return replace(reading, value=None, problem=Reason.LOOK_BACK, detail=why)
