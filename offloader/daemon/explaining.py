"""`why`: of the cluster, of one process, of one move; for whoever may hear it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.controller import Controller, View
from offloader.daemon.documents import move_document
from offloader.daemon.move_story import move_sentence
from offloader.daemon.problems import Trouble
from offloader.daemon.serving import held_back, serving_story
from offloader.daemon.status import rule_documents
from offloader.daemon.why_documents import cluster_document, move_why_document, process_document
from offloader.engine.remedies import REMEDIES
from offloader.engine.schema import identity_key
from offloader.engine.why import why
from offloader.errors import NotFound, NotPermitted, OffloaderError
from offloader.model import Candidate, Move, Obstacle, Reason, StrategyName

__all__ = ["Explanations", "gone", "not_yours", "process_told"]

Document = dict[str, Any]


class Explanations:
    """Answers from the view of the last tick, so that `why` never tells another story than `status`."""

    def __init__(
        self,
        controller: Controller,
        permissions: Permissions,
        trouble: Callable[[], Trouble],
        tick: Callable[[], Awaitable[object]],
    ) -> None:
        """Args: trouble: of the loop; tick: looks and decides at once."""
        self._controller = controller
        self._permissions = permissions
        self._trouble = trouble
        self._tick = tick

    async def cluster(self, caller: Caller) -> Document:
        """Why something, or nothing, is moved."""
        parts, setup, view = self._controller.parts, self._controller.setup, self._controller.view
        now, private = parts.clock.time(), self._permissions.admin(caller)
        return cluster_document(
            serving_story(self._controller, self._trouble(), now, private=private),
            rule_documents(view, setup.rules, parts.switches.read(), setup.policy.head, private=private),
            parts.store.moves(active=True),
            t=view.snapshot.now if view is not None else now,
            running=True,
            private=private,
        )

    async def process(self, caller: Caller, pid: int) -> Document:
        """Why the job of this process is moved, or is not.

        Raises:
            NotFound: there is no such process on the head.
            NotPermitted: it is somebody else's.
            OffloaderError: nothing was read yet.
        """
        parts, view = self._controller.parts, await self._view()
        found = await parts.observer.candidate(view.setup, pid)
        if isinstance(found, Obstacle):
            raise gone(pid, found, parts.store.moves(limit=_LOOKED_THROUGH))
        if not self._permissions.sees(caller, found.leader.identity.uid):
            raise not_yours(pid, found)
        view = replace(view, snapshot=replace(view.snapshot, toggles=parts.switches.read()))
        private = self._permissions.admin(caller)
        held = held_back(parts.records_only)
        return process_told(pid, found, view, parts.strategies(), held, running=True, private=private)

    async def move(self, caller: Caller, move_id: str) -> Document:
        """What happened to a move, and why. Raises NotFound, NotPermitted."""
        store = self._controller.parts.store
        move = store.move(move_id)
        if move is None:
            raise NotFound(f"there is no move {move_id:.60}: `grid-offloader status` lists them")
        job = store.job(move.job)
        if not self._permissions.sees(caller, job.uid if job else move.identity.uid):
            seen = f"why {move_id} went as it did is for its owner and admins"
            raise NotPermitted(Reason.NOT_YOURS, seen)
        document = move_document(move, job, steps=store.timeline(move_id), attempts=store.attempts(move.job))
        now = self._controller.parts.clock.time()
        return move_why_document(document, move_sentence(move, job), t=now, running=True)

    async def _view(self) -> View:
        """The last one; a controller that has just started looks first."""
        if self._controller.view is None:
            await self._tick()
        if self._controller.view is None:
            raise OffloaderError("the controller's first check has not ended yet: ask again in a moment")
        return self._controller.view


_LOOKED_THROUGH = 1000
"""Moves among which one of a process that is gone is looked for."""


def process_told(
    pid: int,
    found: Candidate,
    view: View,
    available: tuple[StrategyName, ...],
    held: Obstacle | None = None,
    *,
    running: bool,
    private: bool,
) -> Document:
    """The answer about one job, by a view. `held`: see engine.why; the rest: why_documents.process_document."""
    known, snapshot = view.setup, view.snapshot
    answer = why(
        found,
        known.rules,
        view.decisions,
        state=view.state,
        snapshot=snapshot,
        policy=known.policy,
        available=available,
        held_back=held,
    )
    keys = {identity_key(member.identity) for member in found.members}
    moves = [move for move in snapshot.moves if identity_key(move.identity) in keys]
    return process_document(pid, answer, moves, t=snapshot.now, running=running, private=private)


def gone(pid: int, found: Obstacle, moves: tuple[Move, ...]) -> NotFound:
    """No such process: perhaps because it was moved."""
    mine = next((move for move in moves if move.identity.pid == pid), None)
    if mine is None:
        return NotFound(f"{found.seen}: only the head's own processes are looked at\n{found.remedy}")
    return NotFound(f"{found.seen}\nit may be the one that was moved: `grid-offloader why {mine.id}`")


def not_yours(pid: int, found: Candidate) -> NotPermitted:
    """What everybody may know is that it is somebody's."""
    seen = f"process {pid} belongs to {found.leader.user}: why it is or is not moved is for its owner and admins"
    return NotPermitted(Reason.NOT_YOURS, seen, (Obstacle(Reason.NOT_YOURS, seen, REMEDIES[Reason.NOT_YOURS]),))
