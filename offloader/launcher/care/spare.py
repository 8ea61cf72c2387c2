"""`used` and `prune`: which environments this node needs, and taking away those that nobody does."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from .. import proc
from ..errors import LauncherError
from ..wire import Document
from .installed import KINDS, uses
from .removal import is_environment, take_away

__all__ = ["main_prune", "main_used"]


def main_used(arguments: list[str]) -> Document:
    """`used STATE_DIR DIR`: names of the environments in DIR that this node uses, used before, or runs something of."""
    if len(arguments) != 2:  # noqa: PLR2004 - as the line above says
        raise LauncherError("USAGE", "used STATE_DIR DIR")
    entries = [uses(Path(arguments[0])).get(kind) or {} for kind in KINDS]
    named = {str((one or {}).get("directory", "")) for entry in entries for one in (entry, entry.get("previous"))}
    base = os.path.join(arguments[1], "")
    found = {path[len(base) :] for path in named if path.startswith(base)}
    return {"used": sorted(found | set(_running(os.fsencode(base))))}


def main_prune(arguments: list[str]) -> Document:
    """`prune DIR NAME…`: of the environments made there those NAMEs stay, and whatever is being made.

    The answer has `removed`, names of the others.
    """
    if not arguments or not arguments[0].startswith("/"):
        raise LauncherError("USAGE", "prune /DIR NAME…")
    base, keep, removed = Path(arguments[0]), set(arguments[1:]), []
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        if path.name not in keep and is_environment(path):
            with _locked(path) as free:
                if free:
                    take_away(path)
                    removed.append(path.name)
    return {"removed": removed}


def _running(base: bytes) -> Iterator[str]:
    """From the words of every process' command line: a service's program lies in its environment."""
    for pid in proc.pids():
        with contextlib.suppress(OSError):
            for word in proc.read_bytes(f"/proc/{pid}/cmdline").split(b"\0"):
                if word.startswith(base):
                    yield os.fsdecode(word[len(base) :].split(b"/")[0])


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Whether nobody makes it just now (`provide` locks it meanwhile)."""
    path = directory.with_name(f".{directory.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield True
            return
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
