"""Secrets are named by file, never written into configuration, and their files are nobody else's to read."""

from __future__ import annotations

import stat
from pathlib import Path

from offloader.errors import ConfigError

__all__ = ["exposure", "read_secret"]

_LARGEST = 64 * 1024


def exposure(path: Path) -> str | None:
    """Why a secret's file must not be used; None: nothing to say against it (it may not exist, or not be visible)."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no regular file"
    mode = stat.S_IMODE(found.st_mode)
    return f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}" if mode & 0o077 else None


def read_secret(path: Path) -> str:
    """The secret, without surrounding white space.

    Raises:
        ConfigError: missing, unreadable, empty, too large, not text, or readable by others.
    """
    problem = exposure(path)
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1).decode("ascii").strip()
    except OSError as error:
        problem = problem or f"{path} cannot be read: {error.strerror}"
        text = ""
    except UnicodeDecodeError:
        problem = problem or f"{path} holds no text"
        text = ""
    if problem is None and not 0 < len(text) <= _LARGEST:
        problem = f"{path} is empty or too large to be a secret"
    if problem is not None:
        raise ConfigError((problem,))
    return text
