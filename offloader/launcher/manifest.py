"""What a tree was right after it was staged, kept beside the record; by it one sees later what has changed.

One line of JSON per file, link and directory: path (base64), kind, size, mtime_ns, mode, inode.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .durable import sync_directory
from .wire import pack_bytes, unpack_bytes

__all__ = ["Changes", "Entry", "Manifest", "changes", "dump", "entry", "read", "replacing", "same_content", "taken"]

_SECOND_NS = 1_000_000_000


class Entry(NamedTuple):
    """One file, link or directory as lstat(2) saw it. Of directories only kind and mode count."""

    kind: str
    size: int
    mtime_ns: int
    mode: int
    inode: int


Manifest = Mapping[bytes, Entry]
"""By path below the root."""


class Changes(NamedTuple):
    """Paths: made or changed since, parents first; and gone since."""

    changed: tuple[bytes, ...]
    gone: tuple[bytes, ...]


def entry(path: bytes) -> Entry | None:
    """What is there now; None: nothing, or something that is never copied."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    kinds = {stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "directory"}
    kind = kinds.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return None
    mode = stat.S_IMODE(found.st_mode)
    if kind == "directory":
        return Entry(kind, 0, 0, mode, 0)
    return Entry(kind, found.st_size, found.st_mtime_ns, mode, found.st_ino)


def taken(paths: Iterable[bytes]) -> dict[bytes, Entry]:
    """Of the current directory."""
    return {path: now for path in paths if (now := entry(path)) is not None}


def changes(before: Manifest, now: Manifest) -> Changes:
    """What has become of a tree."""
    changed = sorted(path for path, found in now.items() if found != before.get(path))
    gone = sorted(path for path in before if path not in now)
    return Changes(tuple(changed), tuple(gone))


def same_content(one: Entry, other: Entry) -> bool:
    """Whether they are copies of each other, as rsync takes it: by kind, size and modification time.

    Where one of the file systems keeps whole seconds only, those decide.
    """
    if (one.kind, one.size) != (other.kind, other.size):
        return False
    if one.kind == "directory" or one.mtime_ns == other.mtime_ns:
        return True
    whole = one.mtime_ns % _SECOND_NS == 0 or other.mtime_ns % _SECOND_NS == 0
    return whole and one.mtime_ns // _SECOND_NS == other.mtime_ns // _SECOND_NS


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[int]:
    """A descriptor to `dump` into, from whatever process; then it is durable, in place of what was there."""
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    sync_directory(path.parent)


def dump(descriptor: int, manifest: Manifest) -> None:
    """Write it. Raises OSError."""
    with open(descriptor, "w", encoding="ascii", closefd=False) as stream:
        stream.writelines(json.dumps([pack_bytes(name), *found]) + "\n" for name, found in manifest.items())


def read(path: Path) -> dict[bytes, Entry] | None:
    """None when none was taken. Raises ValueError."""
    try:
        with path.open("rb") as stream:
            return dict(_lines(stream))
    except FileNotFoundError:
        return None


def _lines(stream: Iterable[bytes]) -> Iterator[tuple[bytes, Entry]]:
    for line in stream:
        name, *fields = json.loads(line)
        yield unpack_bytes(name), Entry(*fields)
