"""`status DIR`: the last durable word of a role, and whether it and its process are still there."""

from __future__ import annotations

from pathlib import Path

from . import proc
from .durable import read_json
from .errors import LauncherError
from .place import CLAIMED, REVOKED, WAITING
from .wire import Document

__all__ = ["main", "status"]


def status(directory: Path) -> Document:
    """The state document plus `launcher_alive` and `child_alive`.

    Before a role wrote its first state: `placed`, `revoked`, `claimed` (the launcher is starting) or `absent`.
    """
    state = read_json(directory / "state.json")
    if state is None:
        return {"state": _without_role(directory), "launcher_alive": False, "child_alive": False}
    return {
        **{key: value for key, value in state.items() if key != "private"},
        "launcher_alive": _alive(state, state.get("boot_id")),
        "child_alive": _alive(state.get("child") or {}, state.get("boot_id")),
    }


def _without_role(directory: Path) -> str:
    names = {WAITING: "placed", REVOKED: "revoked", CLAIMED: "claimed"}
    return next((state for name, state in names.items() if (directory / name).exists()), "absent")


def _alive(one: Document, boot_id: object) -> bool:
    pid, start_ticks = one.get("pid"), one.get("start_ticks")
    return (
        isinstance(pid, int)
        and isinstance(start_ticks, int)
        and boot_id == proc.boot_id()
        and proc.same(pid, start_ticks)
    )


def main(arguments: list[str]) -> Document:
    """The verb."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "status DIR")
    return status(Path(arguments[0]))
