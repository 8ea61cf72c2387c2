"""What Alertmanager's webhook sends, version 4: checked as a whole, and reduced to what rules may know of it.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. Annotations, URLs and most labels are
text of other people and go no further than here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from offloader.config.series import NODE_LABEL
from offloader.daemon.api.body import parse_object, text
from offloader.errors import UsageError

__all__ = ["Alert", "Notification", "parse_notification"]

_VERSION = "4"
_SHOWN = 10
"""Problems that an answer lists; a sender that is wrong once is wrong in every alert."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `fingerprint` names its labels, `starts_t` (Unix seconds) this time that it fires.

    `node`: that of its labels, None where it has none.
    """

    name: str
    fingerprint: str
    starts_t: float
    firing: bool
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One delivery. `truncated`: alerts of its group that were left out (`max_alerts` of the receiver)."""

    alerts: tuple[Alert, ...]
    truncated: int = 0


def parse_notification(raw: bytes) -> Notification:
    """Keys that are not known are passed over: later versions of Alertmanager add some.

    Raises:
        UsageError: it is no such document, or one of another version; nothing of it counts.
    """
    document = parse_object(raw)
    if document.get("version") != _VERSION:
        raise UsageError(f'version must be "{_VERSION}" (Alertmanager\'s webhook), not {document.get("version")!r:.60}')
    alerts, truncated = document.get("alerts"), document.get("truncatedAlerts", 0)
    problems: list[str] = []
    if isinstance(truncated, bool) or not isinstance(truncated, int) or truncated < 0:
        problems.append(f"truncatedAlerts must be a number of alerts, not {truncated!r:.60}")
    if not isinstance(alerts, list):
        problems.append("alerts must be a list")
    found: list[Alert] = []
    for index, given in enumerate(alerts if isinstance(alerts, list) else ()):
        try:
            found.append(_alert(given))
        except ValueError as error:
            problems.append(f"alerts[{index}]: {error}")
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise UsageError("\n".join([*problems[:_SHOWN], *more]))
    return Notification(tuple(found), truncated)


def _alert(given: Any) -> Alert:
    """Raises ValueError."""
    if not isinstance(given, Mapping):
        raise ValueError("must be an object")  # noqa: TRY004 - collected with the others
    labels = given.get("labels")
    if not isinstance(labels, Mapping):
        raise ValueError("labels must be an object")  # noqa: TRY004 - same
    status = given.get("status")
    if status not in ("firing", "resolved"):
        raise ValueError(f"status must be firing or resolved, not {status!r:.60}")
    return Alert(
        name=_text(labels.get("alertname"), "labels.alertname"),
        fingerprint=_text(given.get("fingerprint"), "fingerprint"),
        starts_t=_time(given.get("startsAt")),
        firing=status == "firing",
        node=_text(labels[NODE_LABEL], f"labels.{NODE_LABEL}") if NODE_LABEL in labels else None,
    )


def _text(value: Any, what: str) -> str:
    try:
        return text(value)
    except ValueError as error:
        raise ValueError(f"{what} {error}") from None


def _time(value: Any) -> float:
    """RFC 3339, with its offset from UTC."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        seconds = found.timestamp() if found is not None and found.tzinfo is not None else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"startsAt must be a time as in RFC 3339, not {value!r:.60}")
    return seconds
