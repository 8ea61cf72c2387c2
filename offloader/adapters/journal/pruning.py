"""Forgetting: a journal that is never pruned grows for ever, and so does every look into it."""

from __future__ import annotations

import sqlite3

__all__ = ["forget_jobs"]

_AT_ONCE = 200
"""Jobs per transaction: some thousand rows, milliseconds."""

_OVER = """
    SELECT id FROM jobs WHERE created_t < :before
    AND (state IN ('succeeded', 'failed', 'cancelled', 'lost') OR (state = 'unknown' AND NOT EXISTS (
        SELECT 1 FROM attempts WHERE job = jobs.id AND epoch > 0 AND state != 'ended')))
    AND NOT EXISTS (SELECT 1 FROM moves WHERE job = jobs.id AND (final = 0 OR updated_t >= :before))
    AND NOT EXISTS (SELECT 1 FROM attempts WHERE job = jobs.id AND ended_t >= :before)
    ORDER BY created_t LIMIT :limit
"""

_BY_MOVE = "DELETE FROM {table} WHERE move IN (SELECT id FROM moves WHERE job = ?)"


def forget_jobs(connection: sqlite3.Connection, before: float) -> tuple[str, ...]:
    """Delete jobs that were over before that time, with everything that belongs to them; returns their ids."""
    found = connection.execute(_OVER, {"before": before, "limit": _AT_ONCE}).fetchall()
    for (job,) in found:
        for table in ("transitions", "facts", "receipts"):
            connection.execute(_BY_MOVE.format(table=table), (job,))
        connection.execute("DELETE FROM moves WHERE job = ?", (job,))
        connection.execute("DELETE FROM attempts WHERE job = ?", (job,))
        connection.execute("DELETE FROM jobs WHERE id = ?", (job,))
    return tuple(str(row[0]) for row in found)
