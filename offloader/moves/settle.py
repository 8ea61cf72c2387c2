"""What the end of a move means for its job: brought into line, as often as it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from offloader.model import Attempt, AttemptState, Job, JobState, Move, MoveState

__all__ = ["Settled", "settled"]

_OPEN = (JobState.RUNNING, JobState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Settled:
    """`changed`: the attempts to write. `cared_for`: whether the job's newest attempt is ours, or is to be."""

    job: Job
    changed: tuple[Attempt, ...]
    cared_for: bool


def settled(move: Move, job: Job, attempts: Sequence[Attempt], now: float) -> Settled:
    """Job and attempts as they are once the move is over.

    What the roll-back itself wrote about attempts stands: one to start at the source, or one that was found owning.
    """
    present = [_attempt(move, attempt, now) for attempt in attempts]
    changed = tuple(new for old, new in zip(attempts, present, strict=True) if new != old)
    if job.state not in _OPEN:
        return Settled(job, changed, cared_for=False)
    ours = any(attempt.state is not AttemptState.ENDED for attempt in present if attempt.epoch > 0)
    if ours or move.state is MoveState.DONE:
        return Settled(job, changed, cared_for=ours or job.state is JobState.RUNNING)
    # Rolled back: it runs at its source again, as its user started it, and nobody tells us when it ends.
    state = JobState.LOST if move.state is MoveState.LOST else JobState.UNKNOWN
    return Settled(replace(job, state=state), changed, cared_for=False)


def _attempt(move: Move, attempt: Attempt, now: float) -> Attempt:
    if move.state is MoveState.DONE and attempt.epoch == move.from_epoch and attempt.state is AttemptState.RUNNING:
        return replace(attempt, state=AttemptState.ENDED, ended_t=now)
    if attempt.epoch != move.to_epoch or attempt.state is not AttemptState.PENDING:
        return attempt
    if move.state is MoveState.DONE:
        return replace(attempt, state=AttemptState.RUNNING, submission_id=move.submission_id)
    return replace(attempt, state=AttemptState.ENDED, ended_t=now)
