"""What became of a move, in a sentence or two."""

from __future__ import annotations

from typing import assert_never

from offloader.daemon.api.caller import user_name
from offloader.engine.meanings import MEANINGS
from offloader.model import Job, JobState, Move, MoveState

__all__ = ["move_sentence"]


def move_sentence(move: Move, job: Job | None) -> str:
    """How it stands or ended, and why."""
    by = f"for rule {move.rule}" if move.automatic else f"because {user_name(move.requested_by)} asked"
    agreed = f", and {user_name(move.approved_by)} agreed" if move.approved_by is not None else ""
    return f"{_outcome(move, job)} It was started {by}{agreed}.{_cause(move)}"


def _outcome(move: Move, job: Job | None) -> str:
    where = f"from {move.source} to {move.target} by {move.strategy}"
    match move.state:
        case MoveState.DONE:
            stood = f" It stood still for {move.downtime_s:.1f} s." if move.downtime_s is not None else ""
            return f"It was moved {where}.{stood}{_job_words(job)}"
        case MoveState.ROLLED_BACK:
            return f"It was to be moved {where}, and that was taken back: the work stayed on {move.source}."
        case MoveState.LOST:
            return f"It was to be moved {where}, and was lost."
        case MoveState.ROLLING_BACK:
            return f"Moving it {where} is being taken back now."
        case MoveState.OWNED | MoveState.ENDED:
            return f"It runs on {move.target} now; what is left of it on {move.source} is being ended."
        case (
            MoveState.PLANNED
            | MoveState.PREFLIGHTED
            | MoveState.RESERVED
            | MoveState.QUEUED
            | MoveState.HELD
            | MoveState.FROZEN
            | MoveState.SAVED
            | MoveState.GO
            | MoveState.PROVEN
            | MoveState.OWNING
        ):
            return f"It is being moved {where}: {move.state}."
        case _:
            assert_never(move.state)


def _job_words(job: Job | None) -> str:
    if job is None:
        return ""
    match job.state:
        case JobState.RUNNING:
            return " It runs there."
        case JobState.SUCCEEDED:
            return " It has ended well."
        case JobState.FAILED | JobState.CANCELLED | JobState.LOST:
            return f" Its job is {job.state}."
        case JobState.UNKNOWN:
            return " How its job stands is not known."
        case _:
            assert_never(job.state)


def _cause(move: Move) -> str:
    ended = move.detail.endswith((".", "?", "!"))
    seen = f" {move.detail}{'' if ended else '.'}" if move.detail else ""
    return f"{seen} {MEANINGS[move.reason]}" if move.reason is not None else seen
