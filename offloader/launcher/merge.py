"""Results, received into a scratch directory, take their places. What somebody changed is never overwritten.

| in the tree now | |
| --- | --- |
| nothing | it lands |
| what the manifest says | it is replaced (rename(2): at once, whole) |
| a copy of the newcomer | nothing is to be done: an earlier, interrupted merge did it |
| anything else | conflict: the newcomer lands beside it, as NAME.from-NODE-ATTEMPT |

Runs as the job's owner, in the tree's root. Repeatable: what has landed is no longer in the scratch directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil

from .manifest import Entry, Manifest, entry, same_content
from .wire import Document, pack_bytes

__all__ = ["merge"]

_LISTED = 100
_NAME_BYTES = 255


def merge(scratch: bytes, manifest: Manifest, suffix: bytes, gone: tuple[bytes, ...] = ()) -> Document:
    """Land everything, then remove the scratch directory.

    Args:
        scratch: its name; in the current directory, as what lands.
        manifest: of the current directory, right after it was staged.
        suffix: of newcomers in conflict, `.from-NODE-ATTEMPT`.
        gone: what was removed there and is to be removed here, too; what changed here since stays.

    Returns: `landed`, `removed`, `conflicts` (how many), `beside` (where, at most 100).
    Raises OSError: a full disk, a name that is too long; what has landed stays, the rest is where it was.
    """
    work = _Merge(manifest, suffix)
    if os.path.isdir(scratch):
        work.directory(scratch, b"")
        shutil.rmtree(scratch)
    for path in sorted(gone, reverse=True):
        work.remove(path)
    return {
        "landed": work.landed,
        "removed": work.removed,
        "conflicts": len(work.beside),
        "beside": [pack_bytes(path) for path in work.beside[:_LISTED]],
    }


class _Merge:
    def __init__(self, manifest: Manifest, suffix: bytes) -> None:
        self._manifest = manifest
        self._suffix = suffix
        self.landed = 0
        self.removed = 0
        self.beside: list[bytes] = []

    def directory(self, scratch: bytes, below: bytes) -> None:
        """All of one directory; `below`: its path in the tree."""
        for name in sorted(os.listdir(scratch)):
            source, path = os.path.join(scratch, name), os.path.join(below, name)
            found = entry(source)
            if found is None:
                continue
            if found.kind == "directory":
                self._directory(source, path, found)
            else:
                self._file(source, path, found)

    def _directory(self, source: bytes, path: bytes, found: Entry) -> None:
        now = entry(path)
        if now is None and not os.path.lexists(path):
            os.mkdir(path, 0o700)
            self.landed += 1
        elif now is None or now.kind != "directory":
            self._aside(source, path, found)
            return
        _opened(source)
        self.directory(source, path)
        # Its mode comes last: it may forbid to write into it. One that was changed here stays as it is.
        if now is None or (now != found and now == self._manifest.get(path)):
            with contextlib.suppress(PermissionError):  # it is somebody else's, who lets this account write there
                os.chmod(path, found.mode)

    def _file(self, source: bytes, path: bytes, found: Entry) -> None:
        now = entry(path)
        if now is None and not os.path.lexists(path):
            _move(source, path)
            self.landed += 1
        elif now is not None and now.kind == found.kind and same_content(now, found):
            os.unlink(source)
        elif now is not None and now.kind != "directory" and now == self._manifest.get(path):
            _move(source, path)
            self.landed += 1
        else:
            self._aside(source, path, found)

    def _aside(self, source: bytes, path: bytes, found: Entry) -> None:
        """Under a name that nothing has; where an earlier merge put the same there, that is it."""
        number = 1
        while True:
            ending = self._suffix if number == 1 else b"%s.%d" % (self._suffix, number)
            folder, name = os.path.split(path)
            beside = os.path.join(folder, name[: _NAME_BYTES - len(ending)] + ending)
            there = entry(beside)
            if there is None and not os.path.lexists(beside):
                _move(source, beside)
                break
            if there is not None and found.kind != "directory" and same_content(there, found):
                os.unlink(source)
                break
            number += 1
        self.beside.append(beside)

    def remove(self, path: bytes) -> None:
        now = entry(path)
        if now is None or now != self._manifest.get(path):
            return
        with contextlib.suppress(OSError):  # a directory in which something else is by now
            os.rmdir(path) if now.kind == "directory" else os.unlink(path)
            self.removed += 1


def _opened(directory: bytes) -> None:
    """So that what is in it can be taken out."""
    os.chmod(directory, 0o700)


def _move(source: bytes, path: bytes) -> None:
    try:
        os.rename(source, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, path)


def _copy(source: bytes, path: bytes) -> None:
    """Onto another file system that is mounted below the root; whole there before it takes its name."""
    beside = os.path.join(os.path.dirname(path), b".grid-offload-landing-%d" % os.getpid())
    if os.path.isdir(source) and not os.path.islink(source):
        shutil.copytree(os.fsdecode(source), os.fsdecode(beside), symlinks=True)
    else:
        shutil.copy2(source, beside, follow_symlinks=False)
    os.rename(beside, path)
    if os.path.isdir(source) and not os.path.islink(source):
        shutil.rmtree(source)
    else:
        os.unlink(source)
