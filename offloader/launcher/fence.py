"""`fence DIR`: nothing runs for this attempt any more, and nothing ever will."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from . import proc
from .criu import image
from .durable import read_json, write_json
from .errors import LauncherError
from .lease import boottime
from .place import revoke
from .reaper import descendants, signal_one
from .wire import Document

__all__ = ["fence", "kill_marked"]

_LIMIT_S = 10.0
_PAUSE_S = 0.02
_KEPT_STATES = frozenset({"exited", "failed", "aborted"})


def fence(directory: Path, *, limit_s: float = _LIMIT_S) -> Document:
    """Revoke the capsule, kill the launcher first (it could launch), then everything that runs for the attempt."""
    revoke(directory)
    state = read_json(directory / "state.json") or {}
    known = [state, state.get("child") or {}] if state.get("boot_id") == proc.boot_id() else []
    killed = sum(_kill_recorded(one) for one in known)
    count, dead = kill_marked(directory.name, limit_s=limit_s)
    if dead:
        image.remove(directory / image.NAME)
    if dead and state and state.get("state") not in _KEPT_STATES:
        write_json(directory / "state.json", {**state, "state": "aborted", "reason": "FENCED"})
    return {"dead": dead, "killed": killed + count}


def _kill_recorded(one: Document) -> int:
    """A recorded process with its descendants, if it is still that process."""
    pid, start_ticks = one.get("pid"), one.get("start_ticks")
    if not isinstance(pid, int) or not isinstance(start_ticks, int) or not proc.same(pid, start_ticks):
        return 0
    below = descendants(pid)
    leader = proc.read_stat(pid)
    victims = ([leader] if leader is not None else []) + below
    return sum(signal_one(stat, signal.SIGKILL) for stat in victims)


def kill_marked(task: str, *, limit_s: float) -> tuple[int, bool]:
    """Kill whatever carries OFFLOADING_TASK_ID=<task>, until a walk finds none. Returns (killed, none left)."""
    mark = b"OFFLOADING_TASK_ID=" + os.fsencode(task)
    deadline = boottime() + limit_s
    killed: set[tuple[int, int]] = set()
    while True:
        found = [stat for stat in _marked(mark) if signal_one(stat, signal.SIGKILL)]
        killed |= {(stat.pid, stat.start_ticks) for stat in found}
        if not found:
            return len(killed), True
        if boottime() >= deadline:
            return len(killed), False
        select.select([], [], [], _PAUSE_S)


def _marked(mark: bytes) -> list[proc.Stat]:
    """Everything alive with the mark in its environment, and below such a process."""
    found: dict[int, proc.Stat] = {}
    for stat in proc.all_stats():
        if stat.dead or stat.pid == os.getpid():
            continue
        try:
            marked = mark in proc.environ(stat.pid)
        except OSError:
            marked = False
        if marked or stat.ppid in found:
            found[stat.pid] = stat
    return list(found.values())


def main(arguments: list[str]) -> Document:
    """The verb."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "fence DIR")
    return fence(Path(arguments[0]))
