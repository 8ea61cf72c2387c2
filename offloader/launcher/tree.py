"""What of a directory would be copied: by rsync's own eyes, so that its rules mean here what they mean there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .errors import LauncherError
from .rsync import ENVIRONMENT, TOLERATED, Item, items, listing, skipped, what_failed

__all__ = ["Tree", "leads_out", "look"]


class Tree(NamedTuple):
    """What is there.

    `skipped`: sockets, pipes, devices; `words`: what rsync complained about; `complete`: the looking was not stopped.
    """

    items: tuple[Item, ...]
    skipped: tuple[bytes, ...]
    words: bytes
    complete: bool


def look(filters: Iterable[str], enough: Callable[[Item], bool] = lambda _: False) -> Tree:
    """Everything in the current directory that the rules let through, the directory itself included (path `.`).

    Raises:
        LauncherError: NOT_STAGED: rsync could not look.
    """
    with os.fdopen(os.memfd_create("words"), "w+b") as words:
        process = subprocess.Popen(
            listing(filters), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, env=ENVIRONMENT
        )
        found: list[Item] = []
        left_out: list[bytes] = []
        complete = True
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                left_out += skipped([line])
                found += items([line])
                if found and line.startswith(b"=") and enough(found[-1]):
                    complete = False
                    process.kill()
                    break
        status = process.wait()
        words.seek(0)
        said = words.read()
    if complete and status not in TOLERATED:
        raise LauncherError("NOT_STAGED", what_failed(status, said))
    return Tree(tuple(found), tuple(left_out), said, complete)


def leads_out(root: bytes, link: bytes, target: bytes) -> bool:
    """Whether a symbolic link (its path below the root, and what it says) leads out of the tree."""
    there = os.path.normpath(os.path.join(root, os.path.dirname(link), target))
    return there != root and not there.startswith(root.rstrip(b"/") + b"/")
