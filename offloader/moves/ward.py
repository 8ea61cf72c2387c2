"""A job in our care: what following it and starting it again both hold in their hands."""

from __future__ import annotations

import logging

from offloader.model import Attempt, Job, Move
from offloader.moves.incidents import Incident, IncidentKind
from offloader.moves.origin import Origin, recalled
from offloader.moves.persist import surely
from offloader.moves.tools import Tools

__all__ = ["Ward"]

log = logging.getLogger(__name__)


class Ward:
    """One job with its newest move, which is over."""

    def __init__(self, job: Job, move: Move, tools: Tools) -> None:
        self.job = job
        self.move = move
        self.tools = tools
        self.cancelled = False
        """Its owner wants it no more: it is not started again, or ended as soon as it runs."""

    @property
    def name(self) -> str:
        """For people, all of whom may see it."""
        return f"{self.job.name} of {self.job.user} ({self.move.id})"

    @property
    def origin(self) -> Origin | None:
        """What was kept of the original. Raises JournalError."""
        return recalled(self.tools.store, self.move.id)

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
        self.tools.on_incident(Incident(kind, self.job.id, self.move.id, detail, quarantine))
