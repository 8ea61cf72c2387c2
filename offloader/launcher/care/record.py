"""One service's directory: what it is to be (spec.json), who keeps it (keeper.json), what it said (log, log.1).

A process is known again by pid, start time and boot; a directory is worked on by one command at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .. import proc
from ..durable import read_json, write_json
from ..errors import LauncherError
from ..pidfds import Held, hold
from ..wire import Document

__all__ = ["KEEPER", "LOG", "OLD_LOG", "SPEC", "held", "identity", "locked", "said", "state", "write"]

SPEC, KEEPER, LOG, OLD_LOG = "spec.json", "keeper.json", "log", "log.1"
_LOCK = "lock"
_TAIL_BYTES = 4000
_LOCK_S = 120.0
_PAUSE_S = 0.05


def identity(pid: int) -> Document:
    """What tells a live process from a later one of the same pid. Raises LauncherError when it is gone."""
    stat = proc.read_stat(pid)
    if stat is None:
        raise LauncherError("START_FAILED", f"process {pid} ended at once")
    return {"pid": pid, "start_ticks": stat.start_ticks, "boot_id": proc.boot_id()}


def held(who: object) -> Held | None:
    """A handle on a recorded process; None: it is gone, or never was."""
    if not isinstance(who, dict) or who.get("boot_id") != proc.boot_id():
        return None
    return hold(int(who["pid"]), int(who["start_ticks"]))


def write(directory: Path, document: Document) -> None:
    """The keeper's record."""
    write_json(directory / KEEPER, document)


def state(directory: Path) -> Document:
    """How the service is.

    `state`: `running`; `waiting` (it ended, and is started again soon); `left` (it runs, but nobody keeps it);
    `stopped`; `absent` (it was never started here).
    """
    spec, record = read_json(directory / SPEC), read_json(directory / KEEPER) or {}
    if spec is None:
        return {"name": directory.name, "state": "absent"}
    keeper, child = _alive(record.get("keeper")), _alive(record.get("child"))
    words = {(True, True): "running", (True, False): "waiting", (False, True): "left"}
    return {
        "name": directory.name,
        "state": words.get((keeper, child), "stopped"),
        "pid": record["child"]["pid"] if child else None,
        "since_t": record.get("since_t") if child else None,
        "restarts": record.get("restarts", 0),
        "last_exit": record.get("last_exit"),
        "mark": spec.get("mark"),
    }


def said(directory: Path) -> str:
    """The end of its output."""
    try:
        with open(directory / LOG, "rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return stream.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Nobody else starts or stops it meanwhile; gives the lock's descriptor. Raises LauncherError (LOCKED)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LauncherError("LOCKED", f"another command is at {directory.name} on this node") from None
                time.sleep(_PAUSE_S)
        yield descriptor
    finally:
        # Children inherited the description, so closing alone would not give the lock back.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _alive(who: object) -> bool:
    handle = held(who)
    if handle is None:
        return False
    handle.close()
    return True
