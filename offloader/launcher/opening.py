"""`open`: what a backend's unprivileged account may ask root for, by sudo, on a node that several users share.

A capsule is believed because of where it lies: in an attempt's directory of root's, made by the controller, that nobody
else could have made, changed or replaced. Which attempt is all that the caller says, in one line on stdin, so that the
rule for sudo allows one command without any argument. From there on it is `hold`.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

from . import hold
from .capsule import Capsule
from .errors import LauncherError
from .rooted import intruder

__all__ = ["attempt_of", "main", "refuse_roots"]

_TASK = re.compile(rb"[0-9A-HJKMNP-TV-Z]{26}\.[0-9]{1,9}")
_LINE_BYTES = 64
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def main(arguments: list[str]) -> int:
    """The verb. Raises LauncherError: USAGE, NOT_ROOT, NOT_PLACED, FORGED."""
    if os.geteuid() != 0:
        raise LauncherError("NOT_ROOT", "started by sudo, or not at all")
    task = sys.stdin.buffer.readline(_LINE_BYTES).rstrip(b"\n")
    if arguments or not _TASK.fullmatch(task):
        raise LauncherError("USAGE", "open < JOB.EPOCH")
    directory = attempt_of(Path(os.path.realpath(sys.argv[0])).parent.parent, task.decode("ascii"))
    os.chdir("/")
    nowhere = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    capsule = hold.claimed(directory)
    if capsule is None:
        return hold.EXIT_NOT_CLAIMED
    refuse_roots(capsule)
    return hold.run(directory, capsule)


def attempt_of(state_dir: Path, task: str) -> Path:
    """The attempt's directory. Raises LauncherError: NOT_PLACED; FORGED: somebody else could have put it there."""
    directory = state_dir / "attempts" / task
    try:
        others = intruder(directory)
    except FileNotFoundError:
        raise LauncherError("NOT_PLACED", f"{task} is not here") from None
    if others is not None:
        raise LauncherError("FORGED", f"{others} is not root's alone")
    if directory.lstat().st_mode & _OTHERS:
        raise LauncherError("FORGED", f"{directory} is open to others")
    for file in directory.iterdir():
        seen = file.lstat()
        if file.name.startswith("capsule.") and (seen.st_uid != 0 or not stat.S_ISREG(seen.st_mode)):
            raise LauncherError("FORGED", f"{file} is not root's")
    return directory


def refuse_roots(capsule: Capsule) -> None:
    """Nobody's work is root's: whatever a capsule says, no command is run with more than a user's rights.

    Raises LauncherError: FORGED.
    """
    if 0 in {capsule.image.uid, capsule.image.gid}:
        raise LauncherError("FORGED", "no job of a user's runs as root")
