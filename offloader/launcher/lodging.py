"""Room for the copy of a working directory: made at the same path, remembered, and taken away again.

The record lies in the node's own state directory (`staged/<job>/record.json`) and knows the copy by device and inode:
what somebody put in its place meanwhile is never taken for ours, neither for a copy to use nor for one to remove.

| at the path | |
| --- | --- |
| nothing, and the owner may make it there | made, with the parents that it needs (0700, the owner's) |
| what a former attempt of the same job left | used again; results come first if it owned its work |
| anything else | NO_DIRECTORY |
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import owner, rsync
from .as_owner import answered
from .durable import read_json, sync_directory, write_json
from .errors import LauncherError
from .obstacle import obstacle, shown
from .room import size_shown
from .wire import Document, pack_bytes, unpack_bytes

__all__ = ["Room", "is_lodged", "lodge", "remove", "short_of_room"]

_RECORD = "record.json"
_MANIFEST = "manifest"
_WORKED = frozenset({"owned", "exited"})
_SHARE = "use a shared file system"


class Room(NamedTuple):
    """What a copy needs: bytes and files, and bytes that are to stay free beyond that."""

    size: int
    files: int
    reserve: int


def lodge(directory: Path, who: owner.Account, root: bytes, epoch: int, room: Room, *, rehearse: bool) -> Document:
    """Make room, or with `rehearse` only say whether it could be made: `obstacles`, and `rsync`, its version."""
    found: list[Document] = []
    version = ""
    try:
        version = rsync.installed()
    except LauncherError as error:
        found.append(obstacle(error.code, f"{error.detail} on this node", "install rsync there"))
    wrong = owner.mismatch(who)
    if wrong is not None:
        found.append(obstacle("IDENTITY_MISMATCH", wrong, "give the user the same uid and groups on both nodes"))
        return {"obstacles": found, "rsync": version}
    before = read_json(directory / _RECORD)
    seen = answered(who, lambda: _seen(root, room, before))
    found += seen["obstacles"]
    uncollected = _uncollected(directory, before)
    if uncollected is not None and not seen["missing"]:
        found.append(obstacle("NO_DIRECTORY", uncollected, "wait until they were, or collect them by hand"))
    if not found and not rehearse:
        record = {"root": pack_bytes(root), "epoch": epoch, "made": seen["missing"], "owner": who.document()}
        _make(directory, who, record, before)
    return {"obstacles": found, "rsync": version}


def _seen(root: bytes, room: Room, before: Document | None) -> Document:
    """With the owner's eyes: what is in the way, and which directories are missing, the topmost first."""
    missing: list[bytes] = []
    above = root
    while not os.path.lexists(above):
        missing.insert(0, above)
        above = os.path.dirname(above)
    found = []
    if not missing and not _ours(root, before) and not _just_made(root, before):
        seen = f"{shown(root)} is there already, with a content of its own, so nothing is copied into it"
        found.append(obstacle("NO_DIRECTORY", seen, _SHARE))
    elif missing and not (os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)):
        seen = f"{shown(root)} is not there, and its owner may make no directory in {shown(above)}"
        found.append(obstacle("NO_DIRECTORY", seen, f"let its owner write there, or {_SHARE}"))
    short = short_of_room(above, room)
    found += [obstacle("NO_ROOM", short, "make room there, or choose another node")] if short else []
    return {"obstacles": found, "missing": [pack_bytes(path) for path in missing]}


def short_of_room(directory: bytes, room: Room) -> str | None:
    """A sentence where a copy would leave less than its reserve (statvfs(3)); those that do not say have room."""
    try:
        found = os.statvfs(directory)
    except OSError as error:
        return f"{shown(directory)} cannot be looked at: {error.strerror}"
    free = found.f_bavail * found.f_frsize
    if found.f_blocks and free < room.size + room.reserve:
        needed = f"{size_shown(room.size)} and a reserve of {size_shown(room.reserve)}"
        return f"{size_shown(free)} are free below {shown(directory)}, needed: {needed}"
    if found.f_files and found.f_favail < room.files:
        return f"{found.f_favail} files can still be made below {shown(directory)}, needed: {room.files}"
    return None


def is_lodged(directory: Path, root: bytes) -> bool:
    """Whether what is at that path is the copy that was made room for."""
    return _ours(root, read_json(directory / _RECORD))


def _ours(root: bytes, record: Document | None) -> bool:
    if record is None or unpack_bytes(record["root"]) != root:
        return False
    try:
        found = os.lstat(root)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and [found.st_dev, found.st_ino] == record.get("identity")


def _uncollected(directory: Path, before: Document | None) -> str | None:
    """Whether an attempt that owned its work left the copy: what it made there is nowhere else."""
    if before is None:
        return None
    attempt = f"{directory.name}.{before['epoch']}"
    state = read_json(directory.parent.parent / "attempts" / attempt / "state.json") or {}
    if state.get("state") not in _WORKED:
        return None
    return f"the results of attempt {before['epoch']} of the job were not collected from this node yet"


def _just_made(root: bytes, record: Document | None) -> bool:
    """A launcher was ended between making it and writing down which one it is: it can only be empty."""
    if record is None or record.get("identity") is not None or pack_bytes(root) not in record["made"]:
        return False
    try:
        return os.lstat(root).st_uid == os.geteuid() and not os.listdir(root)
    except OSError:
        return False


def _make(directory: Path, who: owner.Account, record: Document, before: Document | None) -> None:
    """Written down before it is made, so that a launcher that dies in between leaves nothing unknown."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    missing = [unpack_bytes(path) for path in record["made"]]
    if not missing and before is not None:
        record = {**record, "made": before["made"], "identity": before.get("identity")}
    (directory / _MANIFEST).unlink(missing_ok=True)
    write_json(directory / _RECORD, record)
    sync_directory(directory.parent)
    made = answered(who, lambda: _made(missing, unpack_bytes(record["root"])))
    write_json(directory / _RECORD, {**record, **made})


def _made(missing: list[bytes], root: bytes) -> Document:
    for path in missing:
        os.mkdir(path, 0o700)
    found = os.lstat(root)
    return {"identity": [found.st_dev, found.st_ino]}


def remove(directory: Path) -> Document:
    """Take away the copy, the parents made for it as far as they are empty, and the record. Repeatable.

    Returns: `removed`; false with `left`, a sentence, where something of the copy could not be removed.
    """
    record = read_json(directory / _RECORD)
    if record is not None and record["made"]:
        left = answered(owner.account(record["owner"]), lambda: {"left": _removed(record)})["left"]
        if left is not None:
            return {"removed": False, "left": left}
    if directory.is_dir():
        for name in (_MANIFEST, _RECORD):
            (directory / name).unlink(missing_ok=True)
        shutil.rmtree(directory)
        sync_directory(directory.parent)
    return {"removed": True}


def _removed(record: Document) -> str | None:
    root = unpack_bytes(record["root"])
    made = [unpack_bytes(path) for path in record["made"]]
    if record.get("identity") is None:
        made_now = [path for path in made if path != root]  # it died while it made them: the root can only be empty
        with contextlib.suppress(OSError):
            os.rmdir(root)
    elif _ours(root, record):
        shutil.rmtree(root, onerror=_once_more)
        made_now = [path for path in made if path != root]
        if os.path.lexists(root):
            return f"something below {shown(root)} cannot be removed"
    else:
        made_now = []
    for path in reversed(made_now):
        with contextlib.suppress(OSError):  # others use it by now
            os.rmdir(path)
    return None


def _once_more(remove_it: Callable[..., object], path: str, _error: object) -> None:
    """A directory that its owner closed to himself is opened first."""
    parent = path if remove_it in (os.open, os.scandir, os.lstat) else os.path.dirname(path)
    with contextlib.suppress(OSError):
        os.chmod(parent, 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
