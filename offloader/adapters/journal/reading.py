"""Looking into the journal: shared by the daemon's writer and by commands that run without a controller.

Nothing here imports more than sqlite3 and the domain: `auto --status` must start fast.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from offloader.adapters.journal import rows
from offloader.adapters.journal.schema import STEPS, check_version
from offloader.errors import JournalError
from offloader.jobs.events import Event
from offloader.jobs.store import Reader, Step
from offloader.ledger.ledger import totals
from offloader.model import Attempt, Capacity, Identity, Job, JobState, Move, Receipt, Reservation

__all__ = ["JOURNAL_NAME", "JournalReader", "damaged", "explained", "open_read_only"]

JOURNAL_NAME = "journal.db"
_OPEN_TRIES = 3
_EVENTS_AFTER = (
    "SELECT * FROM events WHERE id > :after AND (:subject IS NULL OR subject = :subject) ORDER BY id LIMIT :limit"
)
_EVENTS_NEWEST = (
    "SELECT * FROM events WHERE id > :after AND (:subject IS NULL OR subject = :subject) ORDER BY id DESC LIMIT :limit"
)
_FOLLOWED = """
    SELECT * FROM jobs WHERE state = 'running' OR (state = 'unknown' AND EXISTS (
        SELECT 1 FROM attempts WHERE job = jobs.id AND epoch > 0 AND state != 'ended'))
    ORDER BY created_t, id
"""
# What was decided (jobs.store.DECIDED) goes into the receipt: where it is still a fact, that is to be written. Its key
# is no parameter, or the index on it could not be used (https://sqlite.org/partialindex.html).
_WITHOUT_RECEIPT = """
    SELECT moves.* FROM facts INDEXED BY facts_decided CROSS JOIN moves ON moves.id = facts.move
    WHERE facts.key = 'decided' AND moves.final = 1 AND NOT EXISTS (SELECT 1 FROM receipts WHERE move = moves.id)
    ORDER BY moves.created_t, moves.rowid
"""


class JournalReader(Reader):
    """Queries over one connection. Usable from any thread, one at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Args: connection: with `row_factory = sqlite3.Row`; path: its file, for messages."""
        self._connection = connection
        self._path = path
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Calling it again is fine."""
        with self._lock:
            self._connection.close()

    def move(self, move_id: str) -> Move | None:
        """See jobs.store.Reader, like all of these."""
        found = self._all("SELECT * FROM moves WHERE id = ?", (move_id,))
        return rows.move(found[0]) if found else None

    def moves(self, *, active: bool | None = None, since: float | None = None, limit: int = 1000) -> tuple[Move, ...]:
        """Newest first."""
        found = self._all(
            "SELECT * FROM moves WHERE (:final IS NULL OR final = :final) AND (:since IS NULL OR updated_t >= :since)"
            " ORDER BY created_t DESC, rowid DESC LIMIT :limit",
            {"final": None if active is None else int(not active), "since": since, "limit": limit},
        )
        return tuple(rows.move(row) for row in found)

    def move_of_process(self, identity: Identity) -> Move | None:
        """The newest move of this process."""
        found = self._all(
            "SELECT * FROM moves WHERE boot_id = ? AND pid = ? AND start_ticks = ?"
            " ORDER BY created_t DESC, rowid DESC LIMIT 1",
            (identity.boot_id, identity.pid, identity.start_ticks),
        )
        return rows.move(found[0]) if found else None

    def job(self, job_id: str) -> Job | None:
        """The job of that id."""
        found = self._all("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return rows.job(found[0]) if found else None

    def jobs(self, *, state: JobState | None = None, since: float | None = None, limit: int = 1000) -> tuple[Job, ...]:
        """Newest first."""
        found = self._all(
            "SELECT * FROM jobs WHERE (:state IS NULL OR state = :state) AND (:since IS NULL OR created_t >= :since)"
            " ORDER BY created_t DESC, id DESC LIMIT :limit",
            {"state": state.value if state else None, "since": since, "limit": limit},
        )
        return tuple(rows.job(row) for row in found)

    def followed_jobs(self) -> tuple[Job, ...]:
        """Running, or out of reach; oldest first."""
        return tuple(rows.job(row) for row in self._all(_FOLLOWED, ()))

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """By ascending epoch."""
        found = self._all("SELECT * FROM attempts WHERE job = ? ORDER BY epoch", (job_id,))
        return tuple(rows.attempt(row) for row in found)

    def move_of_job(self, job_id: str) -> Move | None:
        """The newest one."""
        found = self._all("SELECT * FROM moves WHERE job = ? ORDER BY to_epoch DESC, rowid DESC LIMIT 1", (job_id,))
        return rows.move(found[0]) if found else None

    def moves_of_job(self, job_id: str) -> tuple[Move, ...]:
        """The first one first."""
        found = self._all("SELECT * FROM moves WHERE job = ? ORDER BY to_epoch, rowid", (job_id,))
        return tuple(rows.move(row) for row in found)

    def timeline(self, move_id: str) -> tuple[Step, ...]:
        """Every state the move was in, oldest first."""
        found = self._all("SELECT * FROM transitions WHERE move = ? ORDER BY seq", (move_id,))
        return tuple(rows.step(row) for row in found)

    def fact(self, move_id: str, key: str) -> Any | None:
        """What `set_fact` stored."""
        found = self._all("SELECT value FROM facts WHERE move = ? AND key = ?", (move_id, key))
        return json.loads(found[0]["value"]) if found else None

    def receipt(self, move_id: str) -> Receipt | None:
        """The move's."""
        found = self._all("SELECT * FROM receipts WHERE move = ?", (move_id,))
        return rows.receipt(found[0]) if found else None

    def receipts(self, *, limit: int = 200) -> tuple[Receipt, ...]:
        """Newest first."""
        found = self._all("SELECT * FROM receipts ORDER BY t DESC, rowid DESC LIMIT ?", (limit,))
        return tuple(rows.receipt(row) for row in found)

    def without_receipt(self) -> tuple[Move, ...]:
        """Over, decided by a version that writes receipts, and without one; oldest first."""
        return tuple(rows.move(row) for row in self._all(_WITHOUT_RECEIPT, ()))

    def events(self, *, after: int = 0, limit: int = 1000, subject: str | None = None) -> tuple[Event, ...]:
        """Ascending; with after=0 the newest ones."""
        # From the start means the newest ones: a status screen shows what happened last, a follower goes on by id.
        query = _EVENTS_AFTER if after else _EVENTS_NEWEST
        found = self._all(
            query,
            {"after": after, "subject": subject, "limit": limit},
        )
        return tuple(sorted((rows.event(row) for row in found), key=lambda event: event.id))

    def setting(self, key: str) -> Any | None:
        """What `set_setting` stored."""
        found = self._all("SELECT value FROM settings WHERE key = ?", (key,))
        return json.loads(found[0]["value"]) if found else None

    def reserved(self) -> Mapping[str, Capacity]:
        """Node → the sum of what is reserved there."""
        return totals(self.reservations())

    def reservations(self, *, holder: str | None = None) -> tuple[Reservation, ...]:
        """Oldest first."""
        found = self._all(
            "SELECT * FROM reservations WHERE (:holder IS NULL OR holder = :holder) ORDER BY created_t, id",
            {"holder": holder},
        )
        return tuple(rows.reservation(row) for row in found)

    def _all(self, query: str, values: Sequence[Any] | Mapping[str, Any]) -> list[sqlite3.Row]:
        with self._lock, explained(self._path):
            return self._connection.execute(query, values).fetchall()


def open_read_only(state_dir: Path) -> JournalReader:
    """Look into the journal of a state directory, whether or not a controller writes to it. Creates no file.

    Raises:
        JournalError: there is none, it may not be read, or it is of another version.
    """
    path = state_dir / JOURNAL_NAME
    with explained(path):
        connection = _connect_read_only(path)
    try:
        with explained(path):
            _check_current(connection, path)
    except JournalError:
        connection.close()
        raise
    return JournalReader(connection, path)


def _check_current(connection: sqlite3.Connection, path: Path) -> None:
    if check_version(connection, path) != len(STEPS):
        raise JournalError(f"{path} is of an older version: start the controller once, it brings it up to date")


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that neither writes nor creates anything.

    With a write-ahead log present (a controller runs, or one was killed) the shared index is opened read-only too;
    without one the file is complete in itself, and SQLite is told so, or it would create an empty log
    (https://sqlite.org/wal.html#readonly). The log may come or go in between: then again.
    """
    try:
        path.stat()
    except FileNotFoundError:
        raise JournalError(f"no journal at {path}: no controller ever ran with this state directory") from None
    except PermissionError:
        raise JournalError(f"{path} may only be read by the controller's account and root") from None
    for attempt in range(1, _OPEN_TRIES + 1):
        logged = path.with_name(path.name + "-wal").exists()
        options = "mode=ro&readonly_shm=1" if logged else "mode=ro&immutable=1"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{options}",
            uri=True,
            isolation_level=None,
            timeout=1.0,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            if attempt == _OPEN_TRIES:
                raise
        else:
            return connection
    raise AssertionError("unreachable: the last attempt returns or raises")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors as JournalError, each with what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(_explanation(path, error)) from error


def damaged(path: Path, what: str) -> str:
    """What to tell people about a journal that SQLite cannot trust."""
    return (
        f"{path} is damaged ({what}): stop the controller, keep a copy, and try `sqlite3 {path} .recover`; or move it "
        "aside, and then look for moves in flight by hand (`launcher status` on the nodes)"
    )


def _explanation(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code, the rest its extension
    match code:
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return damaged(path, str(error))
        case sqlite3.SQLITE_FULL:
            return f"no space left for {path}: free some on its file system"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_AUTH:
            return f"{path} cannot be opened ({error}): is it the account of the controller that asks?"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is in use by another program ({error}): only the controller may write to it"
        case sqlite3.SQLITE_IOERR:
            return f"reading or writing {path} failed ({error}): look at its disk (dmesg)"
        case _:
            return f"{path}: {error}"
