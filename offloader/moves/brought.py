"""Which of a job's moves counts: a bring that came to nothing leaves the job what it was before."""

from __future__ import annotations

from collections.abc import Sequence

from offloader.jobs.store import Reader
from offloader.model import Attempt, AttemptState, Capacity, Move, MoveState
from offloader.moves.order import ordered
from offloader.moves.origin import recalled
from offloader.moves.tools import Tools

__all__ = ["brought_by", "needs_of"]


def brought_by(store: Reader, job_id: str) -> Move | None:
    """The newest move that has, or may have, taken the job to where it is; None: none did, it is where `run` put it.

    The first move of a job that its user started counts however it ended. Raises JournalError.
    """
    attempts = store.attempts(job_id)
    return next((one for one in reversed(store.moves_of_job(job_id)) if _counts(one, attempts)), None)


def _counts(move: Move, attempts: Sequence[Attempt]) -> bool:
    if move.from_epoch == 0 or move.state is MoveState.DONE or not move.state.final:
        return True
    # Rolled back, and yet what it had started was found owning the work.
    return any(one.epoch == move.to_epoch and one.state is not AttemptState.ENDED for one in attempts)


def needs_of(tools: Tools, job_id: str) -> Capacity:
    """What is kept for the job wherever it goes: of its original, or as `run` was told. Raises JournalError."""
    for move in reversed(tools.store.moves_of_job(job_id)):
        origin = recalled(tools.store, move.id)
        if origin is not None:
            return origin.needs
    capsule = tools.capsules.get(job_id)
    order = ordered(capsule) if capsule is not None else None
    return order.origin.needs if order is not None else Capacity()
