"""`unprovide` and `remove`: environments, and whatever else was left on a node, are taken away."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from pathlib import Path

from ..durable import read_json
from ..errors import LauncherError
from ..wire import LIMIT_BYTES, Document, decode
from .installed import KINDS, MARK

__all__ = ["is_environment", "main_remove", "main_unprovide", "take_away"]

_ENVIRONMENT = re.compile(rf"({'|'.join(KINDS)})-[0-9a-f]{{16}}")
_LOCK = re.compile(rf"\.({'|'.join(KINDS)})-[0-9a-f]{{16}}\.lock")
_WHEELS = "wheels"
_LEAST_DEPTH = 2  # of what is removed as a whole: never a directory of the root


def main_unprovide(arguments: list[str]) -> Document:
    """`unprovide DIR`: the environments made there, and what they were made from; then DIR, if nothing else is in it.

    Several nodes may do it at once. Raises LauncherError: USAGE.
    """
    if len(arguments) != 1 or not arguments[0].startswith("/"):
        raise LauncherError("USAGE", "unprovide /DIR")
    base, removed = Path(arguments[0]), []
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        if _ours(path):
            removed.append(path.name)
            take_away(path)
    if removed:
        with contextlib.suppress(OSError):
            base.rmdir()
    return {"changed": bool(removed), "left": [name for name in removed if (base / name).exists()]}


def main_remove(_arguments: list[str]) -> Document:
    """On stdin `paths`, each removed with all that is in it, and `directories`, each removed if it is empty then.

    What is not there is no error; what belongs to another account stays, unless we are root. The answer has `changed`
    and `left`, which are paths that are still there. Raises LauncherError: USAGE.
    """
    asked = decode(sys.stdin.buffer.read(LIMIT_BYTES))
    paths, directories = ([Path(str(path)) for path in asked[key]] for key in ("paths", "directories"))
    if any(not path.is_absolute() or len(path.parts) <= _LEAST_DEPTH for path in (*paths, *directories)):
        raise LauncherError("USAGE", "absolute paths, and none of the root's own directories")
    there = [path for path in paths if os.path.lexists(path) and os.geteuid() in {0, path.lstat().st_uid}]
    for path in there:
        take_away(path)
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()
    return {"changed": bool(there), "left": [str(path) for path in paths if os.path.lexists(path)]}


def is_environment(path: Path) -> bool:
    """Whether we made it."""
    if _ENVIRONMENT.fullmatch(path.name):
        # One that was interrupted has no mark; but then it is a virtual environment by this name.
        with contextlib.suppress(ValueError):
            return read_json(path / MARK) is not None or (path / "pyvenv.cfg").exists()
    return False


def _ours(path: Path) -> bool:
    return is_environment(path) or path.name == _WHEELS or _LOCK.fullmatch(path.name) is not None


def take_away(path: Path) -> None:
    """With all that is in it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
