"""Domain types ↔ rows. Each `*_row` gives the columns by name; each reader takes a `sqlite3.Row`."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from offloader.jobs.events import Event, EventKind
from offloader.jobs.receipt_json import VERSION, receipt_document, receipt_from
from offloader.jobs.store import Step
from offloader.model import (
    Attempt,
    AttemptState,
    Capacity,
    Completion,
    Identity,
    Job,
    JobState,
    Move,
    MoveState,
    Reason,
    Receipt,
    Reservation,
    ReservationKind,
    StrategyName,
)

__all__ = [
    "attempt",
    "attempt_row",
    "event",
    "event_row",
    "job",
    "job_row",
    "move",
    "move_row",
    "packed",
    "receipt",
    "receipt_row",
    "reservation",
    "reservation_row",
    "step",
]

Columns = dict[str, Any]


def packed(value: Any) -> str:
    """JSON text. Raises ValueError for NaN and infinity, TypeError for what JSON has no word for."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True)


def job_row(value: Job) -> Columns:
    """Columns of `jobs`."""
    return {
        "id": value.id,
        "user": value.user,
        "uid": value.uid,
        "name": value.name,
        "created_t": value.created_t,
        "state": value.state.value,
        "exit_code": value.completion.exit_code,
        "signal": value.completion.signal,
        "restart_safe": int(value.restart_safe),
    }


def job(row: sqlite3.Row) -> Job:
    """A row of `jobs`."""
    return Job(
        id=row["id"],
        user=row["user"],
        uid=row["uid"],
        name=row["name"],
        created_t=row["created_t"],
        state=JobState(row["state"]),
        completion=Completion(row["exit_code"], row["signal"]),
        restart_safe=bool(row["restart_safe"]),
    )


def attempt_row(value: Attempt) -> Columns:
    """Columns of `attempts`."""
    return {
        "job": value.job,
        "epoch": value.epoch,
        "node": value.node,
        "backend": value.backend,
        "submission_id": value.submission_id,
        "pid": value.pid,
        "state": value.state.value,
        "started_t": value.started_t,
        "ended_t": value.ended_t,
        "exit_code": value.completion.exit_code,
        "signal": value.completion.signal,
        "resumed_t": value.resumed_t,
    }


def attempt(row: sqlite3.Row) -> Attempt:
    """A row of `attempts`."""
    return Attempt(
        job=row["job"],
        epoch=row["epoch"],
        node=row["node"],
        backend=row["backend"],
        submission_id=row["submission_id"],
        pid=row["pid"],
        state=AttemptState(row["state"]),
        started_t=row["started_t"],
        ended_t=row["ended_t"],
        completion=Completion(row["exit_code"], row["signal"]),
        resumed_t=row["resumed_t"],
    )


def move_row(value: Move) -> Columns:
    """Columns of `moves`; `final` repeats the state for the indexes."""
    return {
        "id": value.id,
        "job": value.job,
        "from_epoch": value.from_epoch,
        "to_epoch": value.to_epoch,
        "boot_id": value.identity.boot_id,
        "pid": value.identity.pid,
        "start_ticks": value.identity.start_ticks,
        "uid": value.identity.uid,
        # A device number is unsigned 64 bit, and so may an inode be: SQLite's integers are signed.
        "exe_dev": _signed(value.identity.exe_dev),
        "exe_inode": _signed(value.identity.exe_inode),
        "source": value.source,
        "target": value.target,
        "strategy": value.strategy.value,
        "backend": value.backend,
        "state": value.state.value,
        "requested_by": value.requested_by,
        "automatic": int(value.automatic),
        "rule": value.rule,
        "created_t": value.created_t,
        "updated_t": value.updated_t,
        "submission_id": value.submission_id,
        "reason": value.reason.value if value.reason else None,
        "detail": value.detail,
        "downtime_s": value.downtime_s,
        "bytes_moved": value.bytes_moved,
        "work_lost_s": value.work_lost_s,
        "approved_by": value.approved_by,
        "final": int(value.state.final),
    }


def move(row: sqlite3.Row) -> Move:
    """A row of `moves`."""
    return Move(
        id=row["id"],
        job=row["job"],
        from_epoch=row["from_epoch"],
        to_epoch=row["to_epoch"],
        identity=Identity(
            boot_id=row["boot_id"],
            pid=row["pid"],
            start_ticks=row["start_ticks"],
            uid=row["uid"],
            exe_dev=_unsigned(row["exe_dev"]),
            exe_inode=_unsigned(row["exe_inode"]),
        ),
        source=row["source"],
        target=row["target"],
        strategy=StrategyName(row["strategy"]),
        backend=row["backend"],
        state=MoveState(row["state"]),
        requested_by=row["requested_by"],
        automatic=bool(row["automatic"]),
        rule=row["rule"],
        created_t=row["created_t"],
        updated_t=row["updated_t"],
        submission_id=row["submission_id"],
        reason=_reason(row),
        detail=row["detail"],
        downtime_s=row["downtime_s"],
        bytes_moved=row["bytes_moved"],
        work_lost_s=row["work_lost_s"],
        approved_by=row["approved_by"],
    )


def step(row: sqlite3.Row) -> Step:
    """A row of `transitions`."""
    return Step(row["t"], MoveState(row["state"]), _reason(row), row["detail"])


def event_row(value: Event) -> Columns:
    """Columns of `events`, less the id that the journal gives."""
    return {
        "t": value.t,
        "kind": value.kind.value,
        "subject": value.subject,
        "reason": value.reason.value if value.reason else None,
        "message": value.message,
        "data": packed(dict(value.data)),
    }


def event(row: sqlite3.Row) -> Event:
    """A row of `events`."""
    return Event(
        t=row["t"],
        kind=EventKind(row["kind"]),
        subject=row["subject"],
        message=row["message"],
        reason=_reason(row),
        data=json.loads(row["data"]),
        id=row["id"],
    )


def receipt_row(value: Receipt) -> Columns:
    """Columns of `receipts`."""
    return {"move": value.move, "t": value.t, "version": VERSION, "document": packed(receipt_document(value))}


def receipt(row: sqlite3.Row) -> Receipt:
    """A row of `receipts`. Raises JournalError for one of a newer version."""
    return receipt_from(json.loads(row["document"]), row["version"])


def reservation_row(value: Reservation) -> Columns:
    """Columns of `reservations`."""
    return {
        "id": value.id,
        "node": value.node,
        "holder": value.holder,
        "kind": value.kind.value,
        "cores": value.amount.cores,
        "memory_bytes": value.amount.memory_bytes,
        "gpus": value.amount.gpus,
        "gpu_memory_bytes": value.amount.gpu_memory_bytes,
        "created_t": value.created_t,
    }


def reservation(row: sqlite3.Row) -> Reservation:
    """A row of `reservations`."""
    return Reservation(
        id=row["id"],
        node=row["node"],
        amount=Capacity(row["cores"], row["memory_bytes"], row["gpus"], row["gpu_memory_bytes"]),
        holder=row["holder"],
        kind=ReservationKind(row["kind"]),
        created_t=row["created_t"],
    )


def _reason(row: sqlite3.Row) -> Reason | None:
    return None if row["reason"] is None else Reason(row["reason"])


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
