"""What of a job's circumstances travels with it, for people: names of variables only, never values."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from offloader.launcher.environment import dropped
from offloader.moves.capsule import process_part
from offloader.moves.plan import MovePlan

__all__ = ["Baggage", "baggage"]


@dataclass(frozen=True, slots=True)
class Baggage:
    """Names of variables that travel, that stay behind, and that the move adds or replaces."""

    travels: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def baggage(capture: Mapping[str, Any], plan: MovePlan) -> Baggage:
    """From what `launcher capture` saw; nothing when it saw nothing."""
    if "environ" not in capture:
        return Baggage(added=tuple(sorted(plan.env)))
    had = _names(capture["environ"])
    goes = {name for name in _names(process_part(capture, plan)["environ"]) if not dropped(name)}
    added = frozenset(plan.env)
    return Baggage(
        travels=_shown(name for name in goes if name.decode("utf-8", "replace") not in added),
        stays=_shown(had - goes),
        added=tuple(sorted(added)),
    )


def _names(entries: Iterable[str]) -> set[bytes]:
    pairs = (base64.b64decode(entry).partition(b"=") for entry in entries)
    return {name for name, separator, _ in pairs if separator and name}


def _shown(names: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(sorted(name.decode("utf-8", "replace") for name in names))
