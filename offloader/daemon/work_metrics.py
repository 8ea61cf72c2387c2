"""Every move and every job as series of its own: what tables and annotations of dashboards are made of.

Anybody may read metrics, so they name what `status` shows everybody (docs/api.md): not why a process was refused or
what it runs with. Their number is bounded: moves in flight, the newest ones of the last day, jobs that are not over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from prometheus_client.core import Metric

from offloader.daemon.families import Sample, gauge
from offloader.errors import JournalError
from offloader.jobs.store import Reader
from offloader.model import Attempt, AttemptState, Figure, Job, JobState, Move, Reading, Receipt

__all__ = ["NEWEST", "PlacedJob", "placed_jobs", "work_metrics"]

NEWEST = 50
_RECENT_S = 86400.0


def work_metrics(store: Reader, now: float) -> Iterator[Metric]:
    """Moves, their receipts, and jobs.

    Args:
        store: the journal.
        now: Unix seconds.
    """
    over = store.moves(active=False, since=now - _RECENT_S, limit=NEWEST)
    told = {move: _who_and_where(move, store.job(move.job)) for move in (*store.moves(active=True), *over)}
    yield gauge("move_start_timestamp_seconds", [(labels, move.created_t) for move, labels in told.items()])
    yield gauge("move_state", [((move.id, move.state.value), 1.0) for move in told])
    ended = [((*told[move], move.state.value), move.updated_t) for move in over]
    yield gauge("move_end_timestamp_seconds", ended)
    yield from _receipts([receipt for move in over if (receipt := _receipt(store, move)) is not None])
    yield gauge("job_start_timestamp_seconds", [_job(one) for one in placed_jobs(store)])


class PlacedJob(NamedTuple):
    """A job that is not over, the attempt by which it runs or is to run, and its newest move."""

    job: Job
    attempt: Attempt
    move: Move | None

    @property
    def state(self) -> str:
        """Running, waiting (for a place to start again) or out_of_reach."""
        if self.job.state is JobState.UNKNOWN:
            return "out_of_reach"
        return "running" if self.attempt.node else "waiting"


def placed_jobs(store: Reader) -> Iterator[PlacedJob]:
    """All of them, but those whose original still owns the work: these are moves in flight, and no more."""
    for job in store.followed_jobs():
        move = store.move_of_job(job.id)
        under_way = move is not None and not move.state.final and job.state is not JobState.UNKNOWN
        attempt = _attempt(store.attempts(job.id), under_way=under_way)
        if attempt.epoch > 0 or not under_way:
            yield PlacedJob(job, attempt, move)


def _attempt(attempts: Sequence[Attempt], *, under_way: bool) -> Attempt:
    """The last one; while a move is under way the one that owns the work, which its target may not do yet."""
    running = [one for one in attempts if one.state is AttemptState.RUNNING]
    return running[-1] if running and under_way else attempts[-1]


def _who_and_where(move: Move, job: Job | None) -> tuple[str, ...]:
    name, user = (job.name, job.user) if job is not None else ("", "")
    automatic = "yes" if move.automatic else "no"
    way = (move.source, move.target, move.strategy.value, automatic, move.rule or "")
    return move.id, str(move.identity.pid), name, user, *way


def _job(placed: PlacedJob) -> Sample:
    job, attempt, move = placed
    pid = str(move.identity.pid if move is not None else attempt.pid or "")
    place = (attempt.node, placed.state, attempt.submission_id or "")
    return (job.id, move.id if move is not None else "", pid, job.name, job.user, *place), attempt.started_t


def _receipt(store: Reader, move: Move) -> Receipt | None:
    with suppress(JournalError):  # written by a newer version: the other moves are still told of
        return store.receipt(move.id)
    return None


def _receipts(receipts: Sequence[Receipt]) -> Iterator[Metric]:
    downtime, lost, relief = list[Sample](), list[Sample](), list[Sample]()
    for receipt in receipts:
        estimate = receipt.decided.estimate
        downtime += _figure(receipt.move, receipt.downtime_s, estimate.expected_downtime_s)
        lost += _figure(receipt.move, receipt.work_lost_s, estimate.expected_work_lost_s)
        relief += _relief(receipt)
    yield gauge("receipt_downtime_seconds", downtime)
    yield gauge("receipt_work_lost_seconds", lost)
    yield gauge("receipt_bytes", [((receipt.move,), receipt.bytes_moved.value) for receipt in receipts])
    yield gauge("receipt_relief_ratio", relief)


def _figure(move: str, figure: Figure, expected: float) -> list[Sample]:
    kind = "at_most" if figure.at_most else "seen"
    return [((move, kind), figure.value), ((move, "expected"), expected)]


def _relief(receipt: Receipt) -> Iterator[Sample]:
    if receipt.after is None:
        return
    for resource, before in receipt.decided.before.readings.items():
        labels = (receipt.move, resource.value)
        yield (*labels, "seen"), _difference(before, receipt.after.readings.get(resource))
        yield (*labels, "expected"), receipt.decided.estimate.relieves.get(resource, 0.0)


def _difference(before: Reading, after: Reading | None) -> float | None:
    if after is None or before.value is None or after.value is None:
        return None
    return before.value - after.value
