"""The controller's own log: one line per event on stderr, `key=value` (logfmt), for people and for journald alike."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

__all__ = ["LineFormatter", "log_to_stderr"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """`t=… level=… event="…" key=value …`; an exception's traceback follows as `trace="…"` on the same line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the values hold."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = {"t": when, "level": record.levelname.lower(), "event": record.getMessage()}
        pairs |= {key: str(value) for key, value in vars(record).items() if _ours(key)}
        if record.exc_info:
            pairs["trace"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())


def log_to_stderr(level: str) -> None:
    """Send every logger's records to stderr as lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("paramiko", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _ours(key: str) -> bool:
    """Libraries put marks of their own on every record (Ray: `_ray_timestamp_ns`)."""
    return key not in _STANDARD and not key.startswith("_")


def _quoted(value: str) -> str:
    plain = value.isprintable() and value and not set(value) & set(' "=\\')
    return value if plain else '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()
