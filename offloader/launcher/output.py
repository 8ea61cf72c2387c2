"""Where an attempt's output is to be found: in output.log, or in the file that the job writes itself.

Standard error is in output.log too, unless the capsule wants the outputs apart: then it is in errors.log.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from . import stdio
from .capsule import Capsule
from .wire import Document, pack_bytes

__all__ = ["ERRORS_NAME", "NAME", "errors_log", "open_log", "places", "tail"]

NAME = "output.log"
ERRORS_NAME = "errors.log"
_TAIL_BYTES = 1000
_TAIL_LINES = 5


def open_log(directory: Path, capsule: Capsule) -> int:
    """Open (or make) the log, appending; it belongs to the job's owner, 0600."""
    return _open(directory / NAME, capsule)


@contextlib.contextmanager
def errors_log(log: int, capsule: Capsule) -> Iterator[int]:
    """The log of standard error: `log` itself, unless the capsule wants the outputs apart. Raises OSError."""
    if not capsule.outputs_apart:
        yield log
        return
    # Beside the open log, by what the kernel says of it: proc_pid_fd(5).
    descriptor = _open(Path(os.readlink(f"/proc/self/fd/{log}")).with_name(ERRORS_NAME), capsule)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path, capsule: Capsule) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    if os.geteuid() == 0:
        os.fchown(descriptor, capsule.image.uid, capsule.image.gid)
    return descriptor


def places(capsule: Capsule) -> Document:
    """For both outputs: the file that holds it and where this attempt's part begins.

    Without a path: the log of that name in the attempt's directory.
    """
    openings, _, _ = stdio.plan(capsule)
    names = {1: NAME, 2: ERRORS_NAME if capsule.outputs_apart else NAME}
    return {str(number): _place(openings[number], name) for number, name in names.items() if number in openings}


def _place(opening: stdio.Opening, name: str) -> Document:
    if opening.how != "file":
        return {"path": None, "name": name, "offset": 0}
    try:
        size = os.stat(opening.path).st_size
    except OSError:
        size = 0
    return {"path": pack_bytes(opening.path), "offset": size}


def tail(directory: Path) -> str:
    """The last lines of the log, for the message about a failure: of the errors, where they are apart and any."""
    errors = directory / ERRORS_NAME
    try:
        found = errors if errors.exists() and errors.stat().st_size else directory / NAME
        with found.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
