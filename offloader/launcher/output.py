"""output.log, and where an attempt's output is to be found: there, or in the file that the job writes itself."""

from __future__ import annotations

import os
from pathlib import Path

from . import stdio
from .capsule import Capsule
from .wire import Document, pack_bytes

__all__ = ["NAME", "open_log", "places", "tail"]

NAME = "output.log"
_TAIL_BYTES = 1000
_TAIL_LINES = 5


def open_log(directory: Path, capsule: Capsule) -> int:
    """Open (or make) the log, appending; it belongs to the job's owner, 0600."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(directory / NAME, flags, 0o600)
    if os.geteuid() == 0:
        os.fchown(descriptor, capsule.image.uid, capsule.image.gid)
    return descriptor


def places(capsule: Capsule) -> Document:
    """For both outputs: the file that holds it and where this attempt's part begins (path null: output.log)."""
    openings, _, _ = stdio.plan(capsule)
    return {str(number): _place(openings[number]) for number in (1, 2) if number in openings}


def _place(opening: stdio.Opening) -> Document:
    if opening.how != "file":
        return {"path": None, "offset": 0}
    try:
        size = os.stat(opening.path).st_size
    except OSError:
        size = 0
    return {"path": pack_bytes(opening.path), "offset": size}


def tail(directory: Path) -> str:
    """The last lines of the log, for the message about a failure."""
    try:
        with (directory / NAME).open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
