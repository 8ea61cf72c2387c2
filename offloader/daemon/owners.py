"""Telling owners: which events of ticks and moves become messages, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from offloader.daemon.controller import Controller, View
from offloader.engine.schema import Notice, identity_key
from offloader.errors import JournalError
from offloader.jobs.events import EventKind
from offloader.model import Candidate, Decision, Job, JobState, Move, MoveState, Reason, Rule, Snapshot
from offloader.moves.plan import MovePlan
from offloader.notify.message import Message, MessageKind, Origin, Why
from offloader.notify.post import Post
from offloader.notify.words import headline

__all__ = ["Owners"]

log = logging.getLogger(__name__)

TOLD = "owner"
"""Fact of a move: what a message about it needs, once its original is gone."""

_QUIET = frozenset({Reason.ALREADY_MOVING, Reason.KEPT})
"""Ends of a notice that its owner knows of: the move that it announced, or his own word."""


class Owners:
    """Listens to the controller and the mover. Nothing here waits for a channel."""

    def __init__(self, controller: Controller, post: Post[Message], origin_of: Callable[[Candidate], Origin]) -> None:
        self._controller = controller
        self._post = post
        self._origin_of = origin_of
        self._open: dict[str, Origin] = {}

    def ticked(self, view: View) -> None:
        """Tell of notices that are new, also once more after a restart of ours, and of those withdrawn."""
        for notice in view.state.notices:
            if notice.open and notice.process not in self._open:
                job = _job(view, notice)
                self._open[notice.process] = self._origin_of(job) if job is not None else Origin()
                self._tell(self._noticed(MessageKind.NOTICE, notice, view), f"notice of {notice.pid}")
            elif not notice.open and notice.process in self._open:
                message = self._noticed(MessageKind.WITHDRAWN, notice, view)
                del self._open[notice.process]
                if notice.outcome not in _QUIET:
                    self._tell(message, f"notice of {notice.pid}")

    def begun(self, move: Move, asked: MovePlan, decision: Decision | None, _snapshot: Snapshot) -> None:
        """Remember what messages about this move will need."""
        origin = self._origin_of(asked.candidate)
        rule = self._rule(decision.rule) if decision is not None else None
        document: dict[str, Any] = {"tty": origin.tty, "log": origin.log, "why": None}
        if decision is not None and rule is not None:
            document["why"] = {
                "rule": rule.key,
                "query": rule.expr,
                "value": decision.value,
                "threshold": decision.threshold,
            }
        try:
            self._controller.parts.store.set_fact(move.id, TOLD, document)
        except JournalError as error:
            log.warning("where an owner can be reached is not kept", extra={"move": move.id, "error": error})

    def finished(self, move: Move) -> None:
        """A move ended. Whoever asked for it himself has seen that; that his job is lost he is told all the same."""
        job = self._controller.parts.store.job(move.job)
        kinds = {MoveState.DONE: MessageKind.DONE, MoveState.ROLLED_BACK: MessageKind.ROLLED_BACK}
        kind = kinds.get(move.state, MessageKind.LOST)
        own = not move.automatic and move.requested_by == move.identity.uid
        gone = move.reason in (Reason.ORIGINAL_GONE, Reason.KEPT)  # it ended by itself, or he said keep
        if kind is not MessageKind.LOST and (own or (gone and kind is MessageKind.ROLLED_BACK)):
            return
        self._tell(self._moved(kind, move, job), move.id)

    def job_ended(self, job: Job) -> None:
        """A moved job ended: how is its owner's to ask, unless it was lost."""
        if job.state is not JobState.LOST:
            return
        moves = self._controller.parts.store.moves(active=False)
        move = next((one for one in moves if one.job == job.id), None)
        if move is not None:
            self._tell(self._moved(MessageKind.LOST, move, job), move.id)

    def _tell(self, message: Message, subject: str) -> None:
        data = {"kind": message.kind.value, "uid": message.uid, "pid": message.pid, "move": message.move}
        parts = self._controller.parts
        parts.decisions.told(EventKind.OWNER, subject, headline(message), message.t, reason=message.reason, data=data)
        self._post.offer(message)

    def _noticed(self, kind: MessageKind, notice: Notice, view: View) -> Message:
        rule = self._rule(notice.rule)
        why = Why(notice.rule, rule.expr, notice.value, notice.threshold) if rule is not None else None
        return Message(
            kind=kind,
            t=view.snapshot.now,
            uid=notice.uid,
            user=notice.user,
            pid=notice.pid,
            name=notice.name,
            source=view.setup.policy.head,
            target=notice.target,
            strategy=notice.strategy.value,
            origin=self._open[notice.process],
            why=why,
            reason=notice.outcome,
            left_s=notice.left_s,
        )

    def _moved(self, kind: MessageKind, move: Move, job: Job | None) -> Message:
        parts = self._controller.parts
        known = parts.store.fact(move.id, TOLD) or {}
        why = known.get("why")
        return Message(
            kind=kind,
            t=parts.clock.time(),
            uid=move.identity.uid,
            user=job.user if job is not None else str(move.identity.uid),
            pid=move.identity.pid,
            name=job.name if job is not None else "job",
            source=move.source,
            target=move.target,
            strategy=move.strategy.value,
            origin=Origin(known.get("tty") or 0, known.get("log")),
            why=Why(**why) if why else None,
            move=move.id,
            reason=move.reason if kind is not MessageKind.DONE else None,
            detail=move.detail if kind is not MessageKind.DONE else "",
        )

    def _rule(self, key: str) -> Rule | None:
        return next((rule for rule in self._controller.setup.rules if rule.key == key), None)


def _job(view: View, notice: Notice) -> Candidate | None:
    return next(
        (
            one
            for one in view.snapshot.candidates
            if any(identity_key(m.identity) == notice.process for m in one.members)
        ),
        None,
    )
