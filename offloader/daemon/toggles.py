"""What people switch: the ceiling, thresholds, and the kill-switch file. Kept in the journal, hence across restarts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

from offloader.engine.evaluate import threshold_for
from offloader.errors import Refused
from offloader.model import Mode, Move, Obstacle, Reason, Resource, Rule, Toggles

__all__ = [
    "IN_FORCE",
    "KILL_SWITCH_FILE",
    "KILL_SWITCH_MARK",
    "LAST_DECISION",
    "SETTING",
    "STATE",
    "Switches",
    "killed",
    "thresholds_in_force",
    "toggles_of",
    "unlock_command",
]

SETTING = "toggles"
STATE = "engine"
IN_FORCE = "in_force"
"""Thresholds and rules as last used: what `auto --status` tells when no controller runs."""
LAST_DECISION = "last_decision"
KILL_SWITCH_FILE = "disabled"
KILL_SWITCH_MARK = "written by: grid-offloader auto --disable"
"""First line of a kill-switch file that `auto --disable` wrote; `auto --enable` takes only such a file away again."""


class Settings(Protocol):
    """The part of the journal that keeps settings."""

    def setting(self, key: str) -> Any | None:
        """What was stored."""

    def set_setting(self, key: str, value: Any) -> None:
        """Store something JSON-able."""


class Switches:
    """The toggles of one controller."""

    def __init__(self, settings: Settings, state_dir: Path) -> None:
        self._settings = settings
        self._file = state_dir / KILL_SWITCH_FILE
        self._stored = toggles_of(settings.setting(SETTING))

    @property
    def kill_switch_path(self) -> Path:
        """The file whose existence stops everything."""
        return self._file

    @property
    def unlock(self) -> str:
        """The command that takes the kill-switch away: who wrote the file decides."""
        return unlock_command(self._file)

    def read(self) -> Toggles:
        """The toggles at this moment; the file is looked at each time. One that cannot be looked at counts as there."""
        return replace(self._stored, kill_switch=killed(self._file))

    def enable(self, ceiling: Mode) -> None:
        """Raise (or set) the ceiling. Takes away a kill-switch that `auto --disable` wrote.

        Raises:
            Refused: KILL_SWITCH: somebody put the file there by hand; only he knows when it may go.
        """
        if killed(self._file):
            self._take_file_away()
        self._store(replace(self._stored, ceiling=ceiling))

    def disable(self) -> None:
        """Back to observe: in force even when the journal cannot keep it (JournalError)."""
        self._stored = replace(self._stored, ceiling=Mode.OBSERVE)
        self._store(self._stored)

    def set_thresholds(self, thresholds: Mapping[Resource, float | None]) -> None:
        """Replace thresholds by resource; None gives a rule its own one back."""
        merged = {**self._stored.thresholds, **thresholds}
        kept = {resource: ratio for resource, ratio in merged.items() if ratio is not None}
        self._store(replace(self._stored, thresholds=kept))

    def forbidden(self, move: Move | None) -> tuple[Reason, str] | None:
        """Asked before every irreversible step of a move: what forbids it now, if anything does. None: of a `run`."""
        if killed(self._file):
            return Reason.KILL_SWITCH, f"the kill-switch {self._file} is there"
        if move is not None and not self._stored.ceiling.allows(move.least_ceiling):
            return Reason.DISABLED, f"the ceiling is {self._stored.ceiling}: automatic moves are off"
        return None

    def _take_file_away(self) -> None:
        if not _is_ours(self._file):
            seen = f"{self._file} was put there by hand"
            remedy = f"when the reason for it is gone: {self.unlock}"
            raise Refused(
                Reason.KILL_SWITCH, f"{seen}: nothing may move", (Obstacle(Reason.KILL_SWITCH, seen, remedy),)
            )
        self._file.unlink(missing_ok=True)

    def _store(self, toggles: Toggles) -> None:
        document = {
            "ceiling": toggles.ceiling.value,
            "thresholds": {resource.value: ratio for resource, ratio in toggles.thresholds.items()},
        }
        self._settings.set_setting(SETTING, document)
        self._stored = toggles


def killed(file: Path) -> bool:
    """Whether the kill-switch is on. One that cannot be looked at counts as on."""
    try:
        file.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def unlock_command(file: Path) -> str:
    """The command that takes this kill-switch away: `auto --enable` does so only with what `auto --disable` wrote."""
    return "grid-offloader auto --enable" if _is_ours(file) else f"rm {quote(str(file))}"


def _is_ours(file: Path) -> bool:
    try:
        return file.read_text(errors="replace").startswith(KILL_SWITCH_MARK)
    except OSError:
        return False


def thresholds_in_force(rules: Sequence[Rule], toggles: Toggles) -> dict[str, float]:
    """By resource: the first rule's, as it is in force; one that was set is shown also where no rule uses it."""
    of_rules = {rule.resource: threshold_for(rule, toggles) for rule in reversed(rules)}
    known = {**toggles.thresholds, **of_rules}
    return {resource.value: known[resource] for resource in Resource if resource in known}


def toggles_of(document: Any, *, kill_switch: bool = False) -> Toggles:
    """Toggles as the journal keeps them; nothing stored yet is the ceiling observe."""
    if not isinstance(document, Mapping):
        return Toggles(kill_switch=kill_switch)
    thresholds = document.get("thresholds") or {}
    return Toggles(
        ceiling=Mode(document.get("ceiling", Mode.OBSERVE.value)),
        thresholds={Resource(name): float(ratio) for name, ratio in thresholds.items()},
        kill_switch=kill_switch,
    )
