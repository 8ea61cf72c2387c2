"""What becomes of the three standard streams on the target; decided once, used by the check and by the launch.

| source | stdin | stdout, stderr |
| --- | --- | --- |
| regular file, the same one here | reopened from its start | reopened, appending, never truncated |
| regular file in a staged directory | its copy, in the same way | its copy, in the same way |
| regular file, not shared | NO_FILE | NO_FILE, or the capsule's `redirect_output`: output.log |
| /dev/null | /dev/null | /dev/null |
| terminal | /dev/null | output.log |
| terminal that is kept (`terminal`) | a terminal here | a terminal here |
| pipe, socket | UNSUPPORTED_FD, unless it is exhausted: /dev/null | output.log |
| closed | closed | closed |
| other devices, anything else | UNSUPPORTED_FD | UNSUPPORTED_FD |
"""

from __future__ import annotations

import os
from typing import NamedTuple

from .capsule import Capsule, Stream

__all__ = ["Opening", "Problem", "plan"]

_NEVER = os.O_TRUNC | os.O_CREAT | os.O_EXCL


class Opening(NamedTuple):
    """How one stream is opened: `how` is null, log, file or closed; terminal: it comes with what is restored."""

    how: str
    path: bytes = b""
    flags: int = 0


class Problem(NamedTuple):
    """Why a stream cannot be offered here."""

    reason: str
    seen: str
    remedy: str


def plan(capsule: Capsule, *, coming: bool = False) -> tuple[dict[int, Opening], list[Problem], list[str]]:
    """Openings by number, problems, and notes for people. `coming`: what is to be staged is not there yet."""
    openings: dict[int, Opening] = {}
    problems: list[Problem] = []
    notes: list[str] = []
    for number, stream in sorted(capsule.image.stdio.items()):
        expected = coming and capsule.carries(stream.path)
        here = not stream.deleted and (expected or _is_here(capsule, stream))
        if capsule.terminal and stream.kind == "tty":
            openings[number] = Opening("terminal")
            continue
        decided = (
            _input(stream, notes, here=here)
            if number == 0
            else _output(
                number,
                stream,
                redirect=capsule.redirect_output,
                here=here and (expected or os.access(stream.path, os.W_OK)),
            )
        )
        if isinstance(decided, Problem):
            problems.append(decided)
        else:
            openings[number] = decided
    return openings, problems, notes


def _is_here(capsule: Capsule, stream: Stream) -> bool:
    """The same file, or its staged copy."""
    if stream.shared is not None and stream.shared.is_here(stream.path, capsule.shared):
        return True
    return capsule.carries(stream.path) and os.path.isfile(stream.path)


def _input(stream: Stream, notes: list[str], *, here: bool) -> Opening | Problem:
    if stream.kind in {"null", "closed"}:
        return Opening(stream.kind)
    if stream.kind == "tty":
        notes.append("its input was a terminal: it will read /dev/null")
        return Opening("null")
    if stream.kind == "pipe" and stream.exhausted:
        return Opening("null")
    if stream.kind == "file":
        if here:
            return Opening("file", stream.path, (stream.flags & ~_NEVER) | os.O_NOCTTY)
        return Problem("NO_FILE", f"its input {_shown(stream)} is not on this node", "put it on a shared file system")
    return Problem(
        "UNSUPPORTED_FD", f"its input is a {stream.kind} that cannot be offered again", "start it with a file as input"
    )


def _output(number: int, stream: Stream, *, redirect: bool, here: bool) -> Opening | Problem:
    if stream.kind in {"null", "closed"}:
        return Opening(stream.kind)
    if stream.kind in {"tty", "pipe", "socket"}:
        return Opening("log")
    if stream.kind == "file":
        if here:
            return Opening("file", stream.path, (stream.flags & ~_NEVER) | os.O_APPEND | os.O_NOCTTY)
        if redirect:
            return Opening("log")
        return Problem(
            "NO_FILE",
            f"its {_NAMES[number]} {_shown(stream)} is not the same file on this node, or may not be written",
            "write it to a shared file system, or let its output be redirected",
        )
    return Problem("UNSUPPORTED_FD", f"its {_NAMES[number]} is a {stream.kind}", "write the output to a file")


_NAMES = {1: "output", 2: "error output"}


def _shown(stream: Stream) -> str:
    return os.fsdecode(stream.path).encode("utf-8", "replace").decode("utf-8")
