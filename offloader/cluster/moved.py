"""Jobs that would end, or be cut off, if a node's services were stopped now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from offloader.errors import OffloaderError
from offloader.jobs.store import Reader
from offloader.model import AttemptState, Move

__all__ = ["InCare", "JobsThere", "in_care"]

_RUNS = (AttemptState.RUNNING, AttemptState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class InCare:
    """A job in the controller's care that runs on a worker, or is on its way."""

    job: str
    name: str
    node: str
    move: str | None = None  # in flight


class JobsThere(OffloaderError):
    """Services are not stopped under jobs that depend on them."""

    exit_code: ClassVar[int] = 4

    def __init__(self, jobs: tuple[InCare, ...]) -> None:
        listed = (f"{one.name} {'moves to' if one.move else 'on'} {one.node} ({one.move or one.job})" for one in jobs)
        super().__init__(
            f"moved jobs run there: {', '.join(listed)}\n--drain brings them home first, --force ends them"
        )


def in_care(journal: Reader, nodes: Collection[str]) -> tuple[InCare, ...]:
    """Those that run on these nodes, or move from or to them."""
    found = []
    for job in journal.followed_jobs():
        places = [one.node for one in journal.attempts(job.id) if one.epoch > 0 and one.state in _RUNS]
        found += [InCare(job.id, job.name, node) for node in places if node in nodes]
    for move in journal.moves(active=True):
        found += [_moving(journal, move)] if {move.source, move.target} & set(nodes) else []
    return tuple(found)


def _moving(journal: Reader, move: Move) -> InCare:
    job = journal.job(move.job)
    return InCare(move.job, job.name if job else move.job, move.target, move.id)
