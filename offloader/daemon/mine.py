"""`status --mine`: what happened to one user's jobs, in words, with where they are and what to type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from offloader.daemon.controller import View
from offloader.daemon.documents import keep_document, move_document
from offloader.daemon.move_story import move_sentence
from offloader.daemon.runs import started_jobs
from offloader.daemon.status import notice_documents, proposal_documents
from offloader.engine.schema import Proposal
from offloader.jobs.store import Reader
from offloader.model import AttemptState, Job, JobState, Keep, Move, MoveState

__all__ = ["mine_document"]

Document = dict[str, Any]

_LOOKED_THROUGH, _SHOWN = 1000, 30
_RECENT_S = 86400.0


def mine_document(
    uid: int,
    user: str,
    *,
    view: View | None,
    proposals: Sequence[Proposal],
    keeps: Sequence[Keep],
    store: Reader,
    now: float,
) -> Document:
    """Everything about the jobs of this user, moves newest first."""
    moves = [move for move in store.moves(limit=_LOOKED_THROUGH) if move.identity.uid == uid]
    return {
        "t": now,
        "uid": uid,
        "user": user,
        "notices": [one for one in notice_documents(view) if one["uid"] == uid],
        "proposals": proposal_documents(proposals, private=True, uid=uid),
        "kept": [keep_document(one) for one in keeps if one.uid == uid],
        "jobs": started_jobs(store, since=now - _RECENT_S, private=True, uid=uid),
        "moves": [_move(move, store) for move in moves[:_SHOWN]],
    }


def _move(move: Move, store: Reader) -> Document:
    job = store.job(move.job)
    where = _where(move, job, store)
    return {
        **move_document(move, job, attempts=store.attempts(move.job)),
        "sentence": move_sentence(move, job),
        "where": where,
        "commands": _commands(move, runs_there=where is not None and where != move.source),
    }


def _where(move: Move, job: Job | None, store: Reader) -> str | None:
    """The node on which it runs, as far as is known; None: it has ended, was lost, or is being moved just now."""
    if not move.state.final or move.state is MoveState.LOST or job is None:
        return None
    if job.state not in (JobState.RUNNING, JobState.UNKNOWN):
        return None
    running = [one.node for one in store.attempts(move.job) if one.state is AttemptState.RUNNING]
    return running[-1] if running else None


def _commands(move: Move, *, runs_there: bool) -> dict[str, str]:
    """What to type. No command brings a moved job back: `end` it, and start it again."""
    why = {"why": f"grid-offloader why {move.id}"}
    if not move.state.final:
        return {"undo": f"grid-offloader cancel {move.id}", **why}
    if move.state is not MoveState.DONE:
        return why
    if not runs_there:
        return {"output": f"grid-offloader logs {move.id}", **why}
    return {"follow": f"grid-offloader logs -f {move.id}", "end": f"grid-offloader cancel {move.id}", **why}
