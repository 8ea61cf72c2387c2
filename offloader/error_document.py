"""The API's error document: what the daemon sends for an exception, and the exception that the client raises for it.

`{"error": {"code", "message", "reason", "remedy", "obstacles", "problems"}}`; `reason` is null unless something was
refused, `problems` lists every fault of a request or of a file. One table for both directions, so that the exit code
of a command is the same whichever side of the socket noticed the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offloader import errors
from offloader.model import Obstacle, Reason

__all__ = ["INTERNAL", "TABLE", "decode", "encode", "status_of"]

INTERNAL = "internal"
"""Code of a fault of our own; the client shows it as a plain OffloaderError (exit code 1)."""

TABLE: tuple[tuple[str, int, type[errors.OffloaderError]], ...] = (
    # code, HTTP status, exception. Derived classes stand before their bases: the first match counts.
    ("usage", 400, errors.UsageError),
    ("config", 422, errors.ConfigError),
    ("controller_unavailable", 503, errors.ControllerUnavailable),
    ("not_authenticated", 401, errors.NotAuthenticated),
    ("not_permitted", 403, errors.NotPermitted),
    ("refused", 409, errors.Refused),
    ("not_found", 404, errors.NotFound),
    ("move_failed", 409, errors.MoveFailed),
    ("journal", 507, errors.JournalError),
    ("prometheus", 502, errors.PrometheusError),
    ("node_unreachable", 502, errors.NodeUnreachable),
    ("backend", 502, errors.BackendError),
    ("external", 502, errors.ExternalError),
    (INTERNAL, 500, errors.OffloaderError),
)


def status_of(error: errors.OffloaderError) -> int:
    """The HTTP status that goes with an error."""
    return _row(error)[1]


def encode(error: errors.OffloaderError, *, remedy: str = "") -> dict[str, Any]:
    """The document for an error. An empty `remedy` is filled from the first obstacle that names one."""
    obstacles = error.obstacles if isinstance(error, errors.Refused) else ()
    remedies = (obstacle.remedy for obstacle in obstacles if obstacle.remedy)
    return {
        "error": {
            "code": _row(error)[0],
            "message": str(error),
            "reason": error.reason.value if isinstance(error, errors.Refused) else None,
            "remedy": remedy or next(remedies, ""),
            "obstacles": [{"reason": o.reason.value, "seen": o.seen, "remedy": o.remedy} for o in obstacles],
            "problems": list(error.problems) if isinstance(error, errors.ConfigError) else [],
        }
    }


def decode(document: Any, status: int) -> errors.OffloaderError:
    """The exception for an answer with an error status; never fails, whatever the answer holds."""
    body = document.get("error") if isinstance(document, Mapping) else None
    if not isinstance(body, Mapping):
        return errors.OffloaderError(f"the controller answered {status} without an explanation")
    message = str(body.get("message", ""))
    kind = next((kind for code, _, kind in TABLE if code == body.get("code")), errors.OffloaderError)
    if issubclass(kind, errors.Refused):
        reason = _reason(body.get("reason"))
        return kind(reason, message, _obstacles(body)) if reason else errors.OffloaderError(message)
    if issubclass(kind, errors.ConfigError):
        return kind(tuple(map(str, body.get("problems") or [message])))
    remedy = str(body.get("remedy") or "")
    return kind(f"{message}\n{remedy}" if remedy else message)


def _row(error: errors.OffloaderError) -> tuple[str, int, type[errors.OffloaderError]]:
    return next(row for row in TABLE if isinstance(error, row[2]))


def _obstacles(body: Mapping[str, Any]) -> tuple[Obstacle, ...]:
    found = (
        (_reason(each.get("reason")), str(each.get("seen", "")), str(each.get("remedy", "")))
        for each in body.get("obstacles") or ()
        if isinstance(each, Mapping)
    )
    obstacles = tuple(Obstacle(reason, seen, remedy) for reason, seen, remedy in found if reason)
    own, remedy = _reason(body.get("reason")), str(body.get("remedy") or "")
    if not obstacles and own and remedy:
        return (Obstacle(own, str(body.get("message", "")), remedy),)
    return obstacles


def _reason(word: object) -> Reason | None:
    """A newer controller may know more reasons than this client."""
    return Reason(word) if isinstance(word, str) and word in Reason.__members__ else None
