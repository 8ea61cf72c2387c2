"""The journal: SQLite with a write-ahead log, every commit on the disk before it returns (synchronous = FULL).

One process writes (the daemon, by a lock on the state directory). A full disk is a state, not an accident: new moves
are refused, moves in flight go on with space that was kept back, events are dropped and counted.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, Unpack

from offloader.adapters.journal import rows
from offloader.adapters.journal.pruning import forget_jobs
from offloader.adapters.journal.reading import JOURNAL_NAME, JournalReader, damaged, explained
from offloader.adapters.journal.schema import check_version, migrate
from offloader.adapters.journal.spare import SpareSpace
from offloader.adapters.journal.statedir import StateLock, prepare_state_dir
from offloader.errors import JournalError, NotFound, Refused
from offloader.jobs.events import Event
from offloader.jobs.store import DECIDED, MoveFields, Store
from offloader.jobs.transitions import check_transition
from offloader.ledger import ledger
from offloader.model import Attempt, Capacity, Job, Move, MoveState, Reason, Receipt, Reservation

__all__ = ["Journal"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_PRUNE_EVERY = 256  # events between two prunings: the table exceeds its limits by no more than this
# The log is written back from here on, so that most of the space allocated for it is unused when the disk fills up: a
# full disk may stop the writing back, too. A move needs some 150 pages from start to end.
_CHECKPOINT_PAGES = 250
_ROOM_BYTES = 1 << 20  # free space from which the disk counts as usable again


class Journal(JournalReader, Store):
    """jobs.store.Store in a state directory."""

    def __init__(
        self,
        state_dir: Path,
        *,
        spare_bytes: int = 8 << 20,
        keep_events: int = 50_000,
        keep_events_s: float = 30 * 86400.0,
    ) -> None:
        """Open it, create or bring it up to date, and lock the directory.

        Args:
            state_dir: created if needed; `check_state_dir` says whether it is a good place.
            spare_bytes: size of each of the two reserves for a full disk (see SpareSpace).
            keep_events: how many events to keep at most.
            keep_events_s: for how long.

        Raises:
            JournalError: in use by another controller, damaged, of a newer version, no space.
        """
        prepare_state_dir(state_dir)
        path = state_dir / JOURNAL_NAME
        self._state_lock = StateLock(state_dir)
        self._spare = SpareSpace(state_dir, path.with_name(path.name + "-wal"), spare_bytes)
        self._keep_events = keep_events
        self._keep_events_s = keep_events_s
        self._degraded = False
        self.dropped_events = 0
        try:
            super().__init__(self._opened(path), path)
        except BaseException:
            self._state_lock.release()
            raise
        self._closed = False
        if not self._spare.keep():
            self._degrade()

    @property
    def degraded(self) -> bool:
        """Whether the disk is full: no new move, those in flight go on. Ends by itself when there is room."""
        with self._lock:
            if _free_bytes(self._path) < _ROOM_BYTES:
                self._degrade()
            elif self._degraded and self._spare.keep():
                _log.warning("there is room for the journal again: new moves are accepted")
                self._degraded = False
            return self._degraded

    def close(self) -> None:
        """Write the log back, release file and lock. Calling it again is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            super().close()
            self._state_lock.release()

    def create(self, job: Job, attempts: Sequence[Attempt], move: Move) -> None:
        """See jobs.store.Store, like all of these."""

        def body(connection: sqlite3.Connection) -> None:
            self._refuse_second_move(move)
            _put(connection, "jobs", rows.job_row(job))
            for attempt in attempts:
                _put(connection, "attempts", rows.attempt_row(attempt), key="job, epoch")
            _append(connection, "moves", rows.move_row(move))
            _add_step(connection, move, move.reason, move.detail)

        self._refuse_when_degraded()
        self._write(body, essential=False)

    def save_job(self, job: Job) -> None:
        """Insert or replace."""
        self._write(lambda connection: _put(connection, "jobs", rows.job_row(job)))

    def save_attempt(self, attempt: Attempt) -> None:
        """Insert or replace."""
        self._write(lambda connection: _put(connection, "attempts", rows.attempt_row(attempt), key="job, epoch"))

    def settle(self, job: Job, attempts: Sequence[Attempt]) -> None:
        """Insert or replace, all or nothing."""

        def body(connection: sqlite3.Connection) -> None:
            _put(connection, "jobs", rows.job_row(job))
            for attempt in attempts:
                _put(connection, "attempts", rows.attempt_row(attempt), key="job, epoch")

        self._write(body)

    def prune(self, before: float) -> tuple[str, ...]:
        """Forget what was over before that time, a bounded number of jobs at once."""
        return self._write(lambda connection: forget_jobs(connection, before))

    def transition(
        self,
        move_id: str,
        state: MoveState,
        *,
        t: float,
        reason: Reason | None = None,
        detail: str = "",
        **fields: Unpack[MoveFields],
    ) -> Move:
        """Journal the next state; going back, or being lost, releases the move's reservations."""

        def body(connection: sqlite3.Connection) -> Move:
            present = self._existing(move_id)
            check_transition(move_id, present.state, state)
            why = reason or present.reason
            said = detail or present.detail
            updated = _changed(present, t, fields, state=state, reason=why, detail=said)
            _put(connection, "moves", rows.move_row(updated))
            _add_step(connection, updated, reason, detail)
            if state.final and state is not MoveState.DONE:
                connection.execute("DELETE FROM reservations WHERE holder = ? AND kind = 'move'", (move_id,))
            return updated

        return self._write(body)

    def amend(self, move_id: str, *, t: float, **fields: Unpack[MoveFields]) -> Move:
        """Change fields of a move and leave its state."""

        def body(connection: sqlite3.Connection) -> Move:
            updated = _changed(self._existing(move_id), t, fields)
            _put(connection, "moves", rows.move_row(updated))
            return updated

        return self._write(body)

    def set_fact(self, move_id: str, key: str, value: Any) -> None:
        """Keep something JSON-able about a move."""
        columns = {"move": move_id, "key": key, "value": rows.packed(value)}
        self._write(lambda connection: _put(connection, "facts", columns, key="move, key"))

    def add_receipt(self, receipt: Receipt, event: Event) -> bool:
        """Once only, together with the event that tells of it."""

        def body(connection: sqlite3.Connection) -> bool:
            if self._all("SELECT 1 FROM receipts WHERE move = ?", (receipt.move,)):
                return False
            _append(connection, "receipts", rows.receipt_row(receipt))
            connection.execute("DELETE FROM facts WHERE move = ? AND key = ?", (receipt.move, DECIDED))
            _append(connection, "events", rows.event_row(event))
            return True

        self._refuse_when_degraded("no receipt")
        return self._write(body, essential=False)

    def set_setting(self, key: str, value: Any) -> None:
        """Keep something JSON-able by name."""
        columns = {"key": key, "value": rows.packed(value)}
        self._write(lambda connection: _put(connection, "settings", columns, key="key"))

    def add_event(self, event: Event) -> int:
        """Append; 0: dropped because the disk is full (counted in `dropped_events`)."""
        columns = rows.event_row(event)

        def body(connection: sqlite3.Connection) -> int:
            number = _append(connection, "events", columns)
            if number % _PRUNE_EVERY == 0:
                oldest = event.t - self._keep_events_s
                connection.execute("DELETE FROM events WHERE id <= ? OR t < ?", (number - self._keep_events, oldest))
            return number

        if self.degraded:
            return self._drop(event)
        try:
            return self._write(body, essential=False)
        except JournalError:
            if self._degraded:
                return self._drop(event)
            raise

    def reserve(self, reservation: Reservation, offer: Capacity) -> None:
        """Hold capacity, atomically against everything already held."""

        def body(connection: sqlite3.Connection) -> None:
            held = {each.id: each for each in self.reservations()}
            ledger.reserve(held, reservation, offer)
            _put(connection, "reservations", rows.reservation_row(reservation))

        self._refuse_when_degraded()
        self._write(body, essential=False)

    def release(self, holder: str) -> None:
        """Give back everything that the holder has."""
        self._write(lambda connection: connection.execute("DELETE FROM reservations WHERE holder = ?", (holder,)))

    def _existing(self, move_id: str) -> Move:
        found = self.move(move_id)
        if found is None:
            raise NotFound(f"no move {move_id} in the journal: `grid-offloader status` lists them")
        return found

    def _refuse_second_move(self, move: Move) -> None:
        if self.move(move.id) is not None:
            raise ValueError(f"there is a move {move.id} already")
        who = move.identity
        found = self._all(
            "SELECT * FROM moves WHERE final = 0 AND (job = ? OR (boot_id = ? AND pid = ? AND start_ticks = ?))",
            (move.job, who.boot_id, who.pid, who.start_ticks),
        )
        for other in map(rows.move, found):
            raise Refused(
                Reason.ALREADY_MOVING,
                f"{other.id} is moving it already ({other.state}): wait for it, or `grid-offloader cancel {other.id}`",
            )

    def _refuse_when_degraded(self, what: str = "no new move") -> None:
        if self.degraded:
            raise JournalError(f"no space left for {self._path}: {what} until some is free on its file system")

    def _degrade(self) -> None:
        if not self._degraded:
            _log.error("no space left for %s: moves in flight go on, new ones are refused", self._path)
        self._degraded = True

    def _drop(self, event: Event) -> int:
        self.dropped_events += 1
        _log.warning("disk full, event dropped: %s %s: %s", event.kind, event.subject, event.message)
        return 0

    def _opened(self, path: Path) -> sqlite3.Connection:
        """A connection to a sound, current journal; on a full disk with the spare space."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite's own mode would be 0644
        except OSError as error:
            raise JournalError(f"{path} cannot be opened: {error.strerror}") from error
        with explained(path):
            try:
                return _connect(path)
            except sqlite3.OperationalError as error:
                if not (_disk_full(error, path) and self._spare.spend()):
                    raise
                return _connect(path)

    def _write(self, body: Callable[[sqlite3.Connection], _T], *, essential: bool = True) -> _T:
        """One transaction, on the disk when this returns.

        Args:
            body: its statements; what it raises rolls back.
            essential: may spend the spare space when the disk is full.
        """
        with self._lock, explained(self._path):
            try:
                return self._transaction(body)
            except sqlite3.OperationalError as error:
                if not _disk_full(error, self._path):
                    raise
                self._degrade()
                if not (essential and self._spare.spend()):
                    raise
                return self._transaction(body)

    def _transaction(self, body: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = body(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:  # a full disk has rolled back already: a second ROLLBACK would raise
                connection.execute("ROLLBACK")
        return result


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        check_version(connection, path)  # first of all: a file that is not ours is not touched
        _check_sound(connection, path)
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_sound(connection: sqlite3.Connection, path: Path) -> None:
    problem = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if problem != "ok":
        raise JournalError(damaged(path, " ".join(problem.split())))


def _disk_full(error: sqlite3.Error, path: Path) -> bool:
    """SQLITE_FULL, or the input/output error that a full disk causes where SQLite grows its shared index."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _free_bytes(path) < _ROOM_BYTES)


def _free_bytes(path: Path) -> int:
    found = os.statvfs(path.parent)
    return found.f_bavail * found.f_frsize


def _changed(move: Move, t: float, fields: MoveFields, **more: Any) -> Move:
    return dataclasses.replace(move, updated_t=t, **fields, **more)


def _add_step(connection: sqlite3.Connection, move: Move, reason: Reason | None, detail: str) -> None:
    columns = {
        "move": move.id,
        "t": move.updated_t,
        "state": move.state.value,
        "reason": reason.value if reason else None,
        "detail": detail,
    }
    _append(connection, "transitions", columns)


def _put(connection: sqlite3.Connection, table: str, columns: rows.Columns, *, key: str = "id") -> None:
    """Insert one row or update the one of the same key. Names are ours, values are bound.

    Not INSERT OR REPLACE: that would also delete another row where a unique index says no.
    """
    names = ", ".join(columns)
    marks = ", ".join(f":{name}" for name in columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    connection.execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {changes}",  # noqa: S608
        columns,
    )


def _append(connection: sqlite3.Connection, table: str, columns: rows.Columns) -> int:
    """Insert one row; returns the number that the table gave it."""
    names = ", ".join(columns)
    marks = ", ".join(f":{name}" for name in columns)
    cursor = connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", columns)  # noqa: S608
    return cursor.lastrowid or 0
