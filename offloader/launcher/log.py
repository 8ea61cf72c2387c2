"""`log DIR [--offset N] [--follow] [--stream 1|2] [--packed]`: an attempt's output as raw bytes on stdout.

With `--packed` each piece is a line of base64: what travels in lines arrives byte for byte, and at once. Offsets count
from where this attempt's output begins. A file that the job writes itself is opened with its owner's rights: whatever
its path leads to, only what the owner could read comes out. `--stream 2` is standard error where it went to a place of
its own, and nothing where it is in the output already.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from . import proc
from .durable import read_json
from .errors import LauncherError
from .output import NAME
from .wire import Document, pack_bytes, unpack_bytes

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
    parser.add_argument("--packed", action="store_true")
    options = parser.parse_args(arguments)
    state = read_json(options.directory / "state.json")
    if state is None:
        raise LauncherError("NO_STATE", f"no attempt in {options.directory}")
    if options.stream == "2" and _same_place(state):
        return
    descriptor, start = _open(options.directory, state, options.stream)
    os.lseek(descriptor, start + max(0, options.offset), os.SEEK_SET)
    while True:
        # Asked before reading: what was written before the end is then surely read.
        over = not options.follow or _ended(options.directory)
        _copy(descriptor, packed=options.packed)
        if over:
            return
        select.select([], [], [], _LOOK_S)


def _same_place(state: Document) -> bool:
    """Whether standard error went where standard output did: then it is in there, in its order."""
    places = state.get("log") or {}
    return bool(places.get("1", {}) == places.get("2", {}))


def _open(directory: Path, state: Document, stream: str) -> tuple[int, int]:
    place = (state.get("log") or {}).get(stream) or {"path": None, "offset": 0}
    try:
        if place["path"] is None:
            return os.open(directory / place.get("name", NAME), os.O_RDONLY | os.O_NOFOLLOW), 0
        with _as_owner(int(state["uid"])):
            descriptor = os.open(unpack_bytes(place["path"]), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        return descriptor, int(place["offset"])
    except OSError as error:
        raise LauncherError("NO_LOG", f"its output cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _as_owner(uid: int) -> Iterator[None]:
    """With the owner's rights for a moment; as an ordinary user they are our own."""
    if os.geteuid() != 0:
        yield
        return
    owner = pwd.getpwuid(uid)
    groups = os.getgroups()
    os.setgroups(os.getgrouplist(owner.pw_name, owner.pw_gid))
    os.setegid(owner.pw_gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _copy(descriptor: int, *, packed: bool) -> None:
    while True:
        data = os.read(descriptor, _CHUNK)
        if not data:
            sys.stdout.buffer.flush()
            return
        sys.stdout.buffer.write(pack_bytes(data).encode("ascii") + b"\n" if packed else data)


def _ended(directory: Path) -> bool:
    """Whether nothing will be added any more."""
    state = read_json(directory / "state.json") or {}
    return state.get("state") in {"exited", "aborted", "failed"} or not proc.same(state["pid"], state["start_ticks"])
