"""Whether a process's argv is still what it was started with."""

from __future__ import annotations

import os
from collections.abc import Callable

from exporter.procfs.process import ProcessFacts
from offloader.adapters.environment import Environment

__all__ = ["rewritten"]

_DELETED = " (deleted)"


def rewritten(known: ProcessFacts, environment: Environment, same_files: Callable[[], bool]) -> bool:
    """Whether argv cannot be trusted to start the same program: its first word must lead to the running file.

    A shell started as `-bash` counts as rewritten; so does a program started by a relative path that then changed
    its directory. A file that was replaced while it ran proves nothing, nor does a PATH that cannot be read, nor what
    lies at its paths here unless they are the `same_files`.
    """
    if environment.overwritten:
        return True
    if not known.argv or known.exe is None or known.exe_inode is None or known.exe.endswith(_DELETED):
        return False
    word = os.fsdecode(known.argv[0])
    if "/" not in word and not environment.readable:
        return False
    return not any(_is_exe(path, known) for path in _places(word, known.cwd, environment.path)) and same_files()


def _places(word: str, cwd: str | None, path: str) -> list[str]:
    """Where execvp(3) would have found it."""
    here = cwd or "/"
    if not word:
        return []
    if "/" in word:
        return [os.path.join(here, word)]  # noqa: PTH118 -- bytes that are no UTF-8 stay as they are
    return [os.path.join(here, folder, word) for folder in path.split(":")]  # noqa: PTH118 -- same


def _is_exe(path: str, known: ProcessFacts) -> bool:
    try:
        found = os.stat(path)  # noqa: PTH116 -- same
    except (OSError, ValueError):
        return False
    return (found.st_dev, found.st_ino) == (known.exe_device, known.exe_inode)
