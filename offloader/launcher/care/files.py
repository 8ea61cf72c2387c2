"""Verbs for the files that services need on a node: `put` and `listing`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import sys
from pathlib import Path

from .. import owner
from ..as_owner import answered
from ..durable import write_bytes
from ..errors import LauncherError
from ..wire import Document

__all__ = ["main_listing", "main_put"]

_UMASKS = {"0600": 0o077, "0644": 0o022}


def main_put(arguments: list[str]) -> Document:
    """`put PATH MODE [USER]`, content on stdin: replaces the file unless it is there like that already.

    Its directories are made. A secret's is closed to everybody else, and refused where it is another account's. With
    USER that account, and none of our rights, writes the file into a directory that is given to it.

    Raises:
        LauncherError: USAGE; OPEN_TO_OTHERS: the directory is somebody else's.
    """
    if len(arguments) not in (2, 3) or not arguments[0].startswith("/") or arguments[1] not in _UMASKS:
        raise LauncherError("USAGE", f"put /PATH {'|'.join(_UMASKS)} [USER] < content")
    path, mode = Path(arguments[0]), int(arguments[1], 8)
    data = sys.stdin.buffer.read()
    if len(arguments) > 2:  # noqa: PLR2004
        who = _account(arguments[2])
        os.umask(0o022)
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        _close(path.parent, who.uid, who.gid)
        return answered(who, lambda: _put(path, mode, data))
    os.umask(_UMASKS[arguments[1]])
    if mode & 0o077:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        _close(path.parent, os.geteuid(), os.getegid())
    return _put(path, mode, data)


def _put(path: Path, mode: int, data: bytes) -> Document:
    plain = not path.is_symlink() and path.is_file()
    same = plain and stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == data
    if not same:
        write_bytes(path, data, mode)
    return {"changed": not same, "sha256": hashlib.sha256(data).hexdigest()}


def _account(user: str) -> owner.Account:
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise LauncherError("USAGE", f"there is no account {user} on this node") from None
    groups = tuple(os.getgrouplist(user, found.pw_gid))
    return owner.Account(user, found.pw_uid, found.pw_gid, groups)


def _close(directory: Path, uid: int, gid: int) -> None:
    """Make it that account's alone. What another one has made there is left alone: nobody knows what is in it."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        just_made = found.st_uid == os.geteuid() and not os.listdir(descriptor)
        if found.st_uid != uid and not just_made:
            raise LauncherError("OPEN_TO_OTHERS", f"{directory} belongs to another account: remove it")
        os.fchmod(descriptor, 0o700)
        if found.st_uid != uid:
            os.fchown(descriptor, uid, gid)
    finally:
        os.close(descriptor)


def main_listing(arguments: list[str]) -> Document:
    """`listing DIR`: the files in it with their sizes; none where there is no such directory."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "listing DIR")
    try:
        with os.scandir(arguments[0]) as entries:
            return {"files": {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}}
    except (FileNotFoundError, NotADirectoryError):
        return {"files": {}}
