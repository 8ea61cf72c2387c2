"""Verbs for the files that services need on a node: `put` and `listing`."""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import sys
from pathlib import Path

from ..durable import write_bytes
from ..errors import LauncherError
from ..wire import Document

__all__ = ["main_listing", "main_put"]

_UMASKS = {"0600": 0o077, "0644": 0o022}


def main_put(arguments: list[str]) -> Document:
    """`put PATH MODE [USER]`, content on stdin: replaces the file unless it is there like that already.

    Its directories are made, 0700 where it is a secret's. With USER file and directory are that account's.
    Raises LauncherError: USAGE.
    """
    if len(arguments) not in (2, 3) or not arguments[0].startswith("/") or arguments[1] not in _UMASKS:
        raise LauncherError("USAGE", f"put /PATH {'|'.join(_UMASKS)} [USER] < content")
    path, mode = Path(arguments[0]), int(arguments[1], 8)
    data = sys.stdin.buffer.read()
    os.umask(_UMASKS[arguments[1]])
    path.parent.mkdir(parents=True, exist_ok=True)
    same = path.is_file() and stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == data
    if not same:
        write_bytes(path, data, mode)
    if len(arguments) > 2:  # noqa: PLR2004
        _give(arguments[2], path.parent, path)
    return {"changed": not same, "sha256": hashlib.sha256(data).hexdigest()}


def _give(user: str, *paths: Path) -> None:
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise LauncherError("USAGE", f"there is no account {user} on this node") from None
    for path in paths:
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def main_listing(arguments: list[str]) -> Document:
    """`listing DIR`: the files in it with their sizes; none where there is no such directory."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "listing DIR")
    try:
        with os.scandir(arguments[0]) as entries:
            return {"files": {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}}
    except (FileNotFoundError, NotADirectoryError):
        return {"files": {}}
