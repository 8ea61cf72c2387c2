"""`log DIR [--offset N] [--follow] [--stream 1|2]`: an attempt's output as raw bytes on stdout.

Offsets count from where this attempt's output begins. A file that the job writes itself is opened with its owner's
rights: whatever its path leads to, only what the owner could read comes out.
"""

from __future__ import annotations

import argparse
import os
import pwd
import select
import sys
from pathlib import Path
from typing import NoReturn

from . import proc
from .durable import read_json
from .errors import LauncherError
from .output import NAME
from .wire import Document, unpack_bytes

__all__ = ["main"]

_CHUNK = 1 << 16
_LOOK_S = 0.2


class _Parser(argparse.ArgumentParser):
    """Complaints leave as a document, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise LauncherError("USAGE", message)


def main(arguments: list[str]) -> None:
    """The verb. Raises LauncherError (USAGE, NO_STATE, NO_LOG)."""
    parser = _Parser(prog="log", add_help=False)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--stream", choices=("1", "2"), default="1")
    options = parser.parse_args(arguments)
    state = read_json(options.directory / "state.json")
    if state is None:
        raise LauncherError("NO_STATE", f"no attempt in {options.directory}")
    descriptor, start = _open(options.directory, state, options.stream)
    os.lseek(descriptor, start + max(0, options.offset), os.SEEK_SET)
    while True:
        # Asked before reading: what was written before the end is then surely read.
        over = not options.follow or _ended(options.directory)
        _copy(descriptor)
        if over:
            return
        select.select([], [], [], _LOOK_S)


def _open(directory: Path, state: Document, stream: str) -> tuple[int, int]:
    place = (state.get("log") or {}).get(stream) or {"path": None, "offset": 0}
    try:
        if place["path"] is None:
            return os.open(directory / NAME, os.O_RDONLY | os.O_NOFOLLOW), 0
        if os.geteuid() == 0:
            _become(int(state["uid"]))
        return os.open(unpack_bytes(place["path"]), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), int(place["offset"])
    except OSError as error:
        raise LauncherError("NO_LOG", f"its output cannot be read: {error.strerror}") from error


def _become(uid: int) -> None:
    owner = pwd.getpwuid(uid)
    os.setgroups(os.getgrouplist(owner.pw_name, owner.pw_gid))
    os.setresgid(owner.pw_gid, owner.pw_gid, owner.pw_gid)
    os.setresuid(uid, uid, uid)


def _copy(descriptor: int) -> None:
    while True:
        data = os.read(descriptor, _CHUNK)
        if not data:
            sys.stdout.buffer.flush()
            return
        sys.stdout.buffer.write(data)


def _ended(directory: Path) -> bool:
    """Whether nothing will be added any more."""
    try:
        state = read_json(directory / "state.json") or {}
    except PermissionError:
        return os.getppid() == 1  # as the owner in root's directory: follow until whoever asked goes away
    return state.get("state") in {"exited", "aborted", "failed"} or not proc.same(state["pid"], state["start_ticks"])
