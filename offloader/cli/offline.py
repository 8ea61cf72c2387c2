"""What can be said and done without a controller: its journal, read-only, and the kill-switch file."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from offloader import places
from offloader.adapters.journal.reading import JournalReader, open_read_only
from offloader.cli.session import configured
from offloader.daemon.documents import move_document
from offloader.daemon.toggles import (
    IN_FORCE,
    KILL_SWITCH_FILE,
    KILL_SWITCH_MARK,
    LAST_DECISION,
    SETTING,
    STATE,
    toggles_of,
)
from offloader.errors import ControllerUnavailable, JournalError
from offloader.model import Mode

__all__ = ["state_dir", "status_without_journal", "stored_status", "write_kill_switch"]

Document = dict[str, Any]


def state_dir(named: Path | None) -> Path:
    """The one named, else by environment, else as in the cluster file, else the usual one."""
    if named is not None or places.STATE_ENV in os.environ:
        return named or places.state_dir()
    cluster = configured()
    return cluster.controller.state_dir if cluster else places.state_dir()


def stored_status(folder: Path, unavailable: ControllerUnavailable) -> Document:
    """The part of the status document that the journal holds. Raises ControllerUnavailable when there is none."""
    try:
        with open_read_only(folder) as journal:
            return _status(journal, kill_switch=(folder / KILL_SWITCH_FILE).exists())
    except JournalError as error:
        raise ControllerUnavailable(f"{unavailable}\n{error}") from error


def status_without_journal(*, kill_switch: bool) -> Document:
    """The same document when nothing is known."""
    return {
        "running": False,
        "ceiling": None,
        "enabled": False,
        "kill_switch": kill_switch,
        "thresholds": {},
        "rules": [],
        "moves_in_flight": [],
        "last_decision": None,
    }


def write_kill_switch(folder: Path) -> Path:
    """Put the file there that stops everything; one that is there already stays as it is. Raises JournalError."""
    path = folder / KILL_SWITCH_FILE
    uid = os.geteuid()
    text = f"{KILL_SWITCH_MARK}\nby {_name(uid)} at {datetime.now(UTC).isoformat(timespec='seconds')}\n"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.path.lexists(path):
            return path
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        raise JournalError(f"cannot write the kill-switch {path}: {error.strerror}") from error
    with os.fdopen(file, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(file)
    return path


def _status(journal: JournalReader, *, kill_switch: bool) -> Document:
    toggles = toggles_of(journal.setting(SETTING))
    in_force = journal.setting(IN_FORCE) or {}
    thresholds = in_force.get("thresholds") or {r.value: ratio for r, ratio in toggles.thresholds.items()}
    return {
        **status_without_journal(kill_switch=kill_switch),
        "ceiling": toggles.ceiling.value,
        "enabled": toggles.ceiling is not Mode.OBSERVE,
        "thresholds": thresholds,
        "rules": _rules(journal.setting(STATE), in_force),
        "moves_in_flight": [move_document(move, journal.job(move.job)) for move in journal.moves(active=True)],
        "last_decision": journal.setting(LAST_DECISION),
    }


def _rules(engine: Any, in_force: Mapping[str, Any]) -> list[Document]:
    """Rule states as the engine left them; values are not kept, they are old by now."""
    states = engine.get("rules", {}) if isinstance(engine, Mapping) else {}
    known = in_force.get("rules") or {}
    return [
        {"key": key, "node": node, "state": state["phase"], "since_t": state["phase_t"], "value": None, "age_s": None}
        | {"threshold": None, "relief": None, "mode": None, "reason": None, "detail": ""}
        | known.get(key, {})
        for key, nodes in states.items()
        for node, state in nodes.items()
    ]


def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
