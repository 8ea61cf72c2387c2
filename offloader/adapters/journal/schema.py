"""The journal's tables, as explicit steps from one version to the next.

`PRAGMA user_version` counts the steps that were applied. A step that was released is never changed: a new one follows.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from offloader.errors import JournalError

__all__ = ["APPLICATION_ID", "STEPS", "check_version", "migrate"]

APPLICATION_ID = 0x47524F46  # "GROF": tells our file from anybody else's database

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE jobs (
            id TEXT PRIMARY KEY, user TEXT NOT NULL, uid INTEGER NOT NULL, name TEXT NOT NULL, created_t REAL NOT NULL,
            state TEXT NOT NULL, exit_code INTEGER, signal INTEGER, restart_safe INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE attempts (
            job TEXT NOT NULL, epoch INTEGER NOT NULL, node TEXT NOT NULL, backend TEXT NOT NULL, submission_id TEXT,
            pid INTEGER, state TEXT NOT NULL, started_t REAL NOT NULL, ended_t REAL, exit_code INTEGER, signal INTEGER,
            PRIMARY KEY (job, epoch)
        ) STRICT""",
        """CREATE TABLE moves (
            id TEXT PRIMARY KEY, job TEXT NOT NULL, from_epoch INTEGER NOT NULL, to_epoch INTEGER NOT NULL,
            boot_id TEXT NOT NULL, pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, uid INTEGER NOT NULL,
            exe_dev INTEGER NOT NULL, exe_inode INTEGER NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
            strategy TEXT NOT NULL, backend TEXT NOT NULL, state TEXT NOT NULL, requested_by INTEGER NOT NULL,
            automatic INTEGER NOT NULL, rule TEXT, created_t REAL NOT NULL, updated_t REAL NOT NULL, submission_id TEXT,
            reason TEXT, detail TEXT NOT NULL, downtime_s REAL, final INTEGER NOT NULL
        ) STRICT""",
        # The two indexes are a safety rule: whatever asks, a job or a process has one move at a time.
        "CREATE UNIQUE INDEX moves_active_job ON moves (job) WHERE final = 0",
        "CREATE UNIQUE INDEX moves_active_process ON moves (boot_id, pid, start_ticks) WHERE final = 0",
        "CREATE INDEX moves_process ON moves (boot_id, pid, start_ticks)",
        "CREATE INDEX moves_created ON moves (created_t)",
        """CREATE TABLE transitions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, move TEXT NOT NULL, t REAL NOT NULL, state TEXT NOT NULL,
            reason TEXT, detail TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX transitions_move ON transitions (move, seq)",
        """CREATE TABLE facts (
            move TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (move, key)
        ) STRICT""",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT, t REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
            reason TEXT, message TEXT NOT NULL, data TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX events_subject ON events (subject, id)",
        "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE reservations (
            id TEXT PRIMARY KEY, node TEXT NOT NULL, holder TEXT NOT NULL, kind TEXT NOT NULL, cores REAL NOT NULL,
            memory_bytes INTEGER NOT NULL, gpus INTEGER NOT NULL, gpu_memory_bytes INTEGER NOT NULL,
            created_t REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX reservations_holder ON reservations (holder)",
    ),
    (
        # What recovery and pruning ask for, however many jobs were moved before.
        "CREATE INDEX jobs_state ON jobs (state)",
        "CREATE INDEX jobs_created ON jobs (created_t)",
        "CREATE INDEX moves_job ON moves (job)",
    ),
    (
        # What a move cost and was worth. A receipt is one document with a version of its own; its columns are what it
        # is looked for by.
        "ALTER TABLE moves ADD COLUMN bytes_moved INTEGER",
        "ALTER TABLE moves ADD COLUMN work_lost_s REAL",
        "ALTER TABLE attempts ADD COLUMN resumed_t REAL",
        """CREATE TABLE receipts (
            move TEXT PRIMARY KEY, t REAL NOT NULL, version INTEGER NOT NULL, document TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX receipts_t ON receipts (t)",
        "CREATE INDEX facts_decided ON facts (move) WHERE key = 'decided'",
    ),
    ("ALTER TABLE moves ADD COLUMN approved_by INTEGER",),  # who agreed to what a rule had planned
)


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """How many steps the file has seen; 0 for an empty one.

    Raises:
        JournalError: written by a newer version, or not a journal of ours.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not empty and owner != APPLICATION_ID:
        raise JournalError(f"{path} is a database of another program: give the controller its own state directory")
    if version > len(STEPS):
        raise JournalError(
            f"{path} was written by a newer grid-offloader (journal version {version}; this program knows "
            f"{len(STEPS)}): start the newer program again, or move the file aside once no move is in flight"
        )
    return version


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Apply the steps that are missing, each in a transaction of its own. Raises what check_version raises."""
    version = check_version(connection, path)
    for number, statements in enumerate(STEPS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
