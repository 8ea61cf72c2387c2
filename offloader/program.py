"""What a command line would execute here, as its user's own eyes see it: for `run`, on whichever node it then runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from offloader.errors import UsageError
from offloader.launcher.capture import argument_files
from offloader.launcher.environment import dropped
from offloader.launcher.fileprint import digest
from offloader.launcher.wire import pack_bytes

__all__ = ["CommandNotExecutable", "CommandNotFound", "described", "found"]


class CommandNotFound(UsageError):
    """No such program; exit code as shells have it (POSIX, Shell Command Language, 2.8.2)."""

    exit_code: ClassVar[int] = 127


class CommandNotExecutable(UsageError):
    """There is such a file, and it may not be executed."""

    exit_code: ClassVar[int] = 126


def described(argv: Sequence[bytes], environ: Mapping[bytes, bytes], cwd: Path) -> dict[str, Any]:
    """The command's part of a request: what is executed, with which environment, and the files that it names.

    Variables that belong to a login session or a node stay here, as with a job that moves.

    Raises:
        CommandNotFound, CommandNotExecutable: the program; `cwd` and PATH decide which one it is.
    """
    cwd = cwd.absolute()
    path = found(argv[0], environ, cwd)
    try:
        mark, size = digest(os.fsencode(path)), path.stat().st_size
    except OSError as error:
        raise CommandNotExecutable(f"{path} cannot be read: {error.strerror}") from error
    directory = os.fsencode(cwd)
    files = argument_files(list(argv), directory, os.fsencode(path))
    return {
        "argv": [pack_bytes(part) for part in argv],
        "environ": [pack_bytes(name + b"=" + value) for name, value in environ.items() if not dropped(name)],
        "cwd": pack_bytes(directory),
        "path": pack_bytes(os.fsencode(path)),
        "digest": mark,
        "size": size,
        "files": [[entry["path"], entry["digest"]] for entry in files],
    }


def found(name: bytes, environ: Mapping[bytes, bytes], cwd: Path) -> Path:
    """The program that execvp(3) would take, symbolic links left as they are. Raises as `described` does."""
    words = os.fsdecode(name)
    if "/" in words:
        candidates = [cwd / words]
    else:
        path = os.fsdecode(environ.get(b"PATH", os.fsencode(os.defpath)))
        candidates = [cwd / entry / words for entry in path.split(os.pathsep)]
    for candidate in candidates:
        if shutil.which(candidate) is not None:
            return Path(os.path.normpath(candidate))
    if any(candidate.exists() for candidate in candidates):
        raise CommandNotExecutable(f"{words} may not be executed")
    raise CommandNotFound(f"{words}: no such program")
