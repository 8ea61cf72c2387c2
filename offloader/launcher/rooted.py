"""What is believed because of where it lies: only root can have made, changed or replaced it."""

from __future__ import annotations

import stat
from pathlib import Path

__all__ = ["intruder"]

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def intruder(path: Path) -> Path | None:
    """The first place on the way to `path`, itself included, that is not root's alone; None: all of it is.

    A place that somebody else owns or may write to is not, and neither is a link: what it leads to was not looked at.
    `path` is absolute. Raises OSError.
    """
    for place in (*reversed(path.parents), path):
        found = place.lstat()
        kind = stat.S_ISDIR if place != path else _directory_or_file
        if not kind(found.st_mode) or found.st_uid != 0 or found.st_mode & _OTHERS_WRITE:
            return place
    return None


def _directory_or_file(mode: int) -> bool:
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)
