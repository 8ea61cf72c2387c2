"""A job in our care: what following it and starting it again both hold in their hands."""

from __future__ import annotations

import logging

from offloader.model import Attempt, AttemptState, Job, Move
from offloader.moves.incidents import Incident, IncidentKind
from offloader.moves.order import Order, ordered
from offloader.moves.origin import Origin, recalled
from offloader.moves.persist import surely
from offloader.moves.tools import Tools

__all__ = ["Ward"]

log = logging.getLogger(__name__)


class Ward:
    """One job with the move that took it to where it is (brought_by); None: `run` started it, and it never moved."""

    def __init__(self, job: Job, move: Move | None, tools: Tools) -> None:
        self.job = job
        self.move = move
        self.tools = tools
        self.cancelled = False
        """Its owner wants it no more: it is not started again, or ended as soon as it runs."""

    @property
    def id(self) -> str:
        """What people type to mean it, and the holder of what the ledger keeps for it."""
        return self.move.id if self.move is not None else self.job.id

    @property
    def name(self) -> str:
        """For people, all of whom may see it."""
        return f"{self.job.name} of {self.job.user} ({self.id})"

    @property
    def source(self) -> str:
        """The node at which its user started it, or said `run`. Raises JournalError."""
        return next((one.node for one in self.attempts() if one.epoch == 0), self.tools.head)

    @property
    def present(self) -> Attempt:
        """The attempt that counts: of ours the newest that has not ended, else the newest. Raises JournalError.

        A move that came to nothing leaves a newer one, ended, beside the one that went on.
        """
        attempts = self.attempts()
        going = [one for one in attempts if one.epoch > 0 and one.state is not AttemptState.ENDED]
        return going[-1] if going else attempts[-1]

    @property
    def origin(self) -> Origin | None:
        """What was kept of the original, or asked for by `run`. Raises JournalError."""
        if self.move is not None:
            return recalled(self.tools.store, self.move.id)
        order = self.order
        return order.origin if order is not None else None

    @property
    def order(self) -> Order | None:
        """What was asked of `run`; None for a job that it did not start, and once its capsule is gone."""
        capsule = self.tools.capsules.get(self.job.id) if self.move is None else None
        return ordered(capsule) if capsule is not None else None

    def attempts(self) -> tuple[Attempt, ...]:
        """By ascending epoch. Raises JournalError."""
        return self.tools.store.attempts(self.job.id)

    async def save(self, attempt: Attempt) -> None:
        """Durable when it returns."""
        await surely(self.tools, f"{attempt.job} {attempt.state}", self.tools.store.save_attempt, attempt)

    async def save_job(self, job: Job) -> None:
        """Durable when it returns."""
        await surely(self.tools, f"{job.id} is {job.state}", self.tools.store.save_job, job)
        self.job = job

    def tell(self, kind: IncidentKind, detail: str, *, quarantine: str | None = None) -> None:
        """Whoever tells people."""
        log.warning("%s: %s", kind, detail)
        self.tools.on_incident(Incident(kind, self.job.id, self.id, detail, quarantine))
