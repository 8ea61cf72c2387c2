"""Names of processes that no rule moves for a while, with why: kept in the journal, so that a restart forgets none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from offloader.errors import JournalError

__all__ = ["SETTING", "Quarantine", "names_in_force"]

log = logging.getLogger(__name__)

SETTING = "quarantine"


class Settings(Protocol):
    """The part of the journal that keeps them."""

    def setting(self, key: str) -> Any | None:
        """What was stored."""

    def set_setting(self, key: str, value: Any) -> None:
        """Store. Raises JournalError."""


class Quarantine:
    """By name, user:comm, as engine.guard asks for them. The owner's own `move` passes over it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def add(self, name: str, why: str, *, now: float, for_s: float) -> None:
        """From now on, for so long. A journal that cannot keep it is logged."""
        kept = {**in_force(self._settings.setting(SETTING), now), name: {"until_t": now + for_s, "why": why}}
        try:
            self._settings.set_setting(SETTING, kept)
        except JournalError as error:
            log.warning("%s is not quarantined: %s", name, error)

    def now(self, t: float) -> dict[str, dict[str, Any]]:
        """Name → until_t (Unix seconds), why."""
        return in_force(self._settings.setting(SETTING), t)


def in_force(stored: Any, now: float) -> dict[str, dict[str, Any]]:
    """Those of a stored document whose time is not over."""
    if not isinstance(stored, Mapping):
        return {}
    return {name: dict(entry) for name, entry in stored.items() if entry["until_t"] > now}


def names_in_force(stored: Any, now: float) -> frozenset[str]:
    """For a snapshot."""
    return frozenset(in_force(stored, now))
