"""Which of the source's file systems does the target see too? Answered by files with a random content.

A file system's type says nothing sure: NFS may be mounted on one node only, and a local disk may well be shared by a
bind mount (a container, a test bed). So the source writes a token into the directories that matter, as the job's
owner, and the target reads it under the same path. The files live as long as the asker listens.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["PREFIX", "Token", "Tokens"]

PREFIX = b".grid-offload-token-"
_MOST = 32
_STALE_S = 600.0
"""Tokens of this age were left behind by a survey that was killed."""


class Token(NamedTuple):
    """One file at the source, the device number that it lies on there, and what it contains."""

    path: bytes
    dev: int
    content: str

    def device_here(self) -> int | None:
        """The number of that same file system on this node; None when it is not here under this path."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            if os.read(descriptor, len(self.content) + 1) != self.content.encode("ascii"):
                return None
            return os.fstat(descriptor).st_dev
        finally:
            os.close(descriptor)


class Tokens:
    """Tokens on this node, one per directory; removed by `clear`, and by the next survey where that was impossible."""

    def __init__(self) -> None:
        self.placed: list[Token] = []

    def place(self, directories: Iterable[bytes]) -> None:
        """Where this account may write, and at most 32: other directories are left out."""
        for directory in directories:
            if len(self.placed) == _MOST:
                return
            with contextlib.suppress(OSError):
                _sweep(directory)
                self._place(directory)

    def _place(self, directory: bytes) -> None:
        content = secrets.token_hex(16)
        path = os.path.join(directory, PREFIX + secrets.token_hex(8).encode("ascii"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self.placed.append(Token(path, os.fstat(descriptor).st_dev, content))
            os.write(descriptor, content.encode("ascii"))
        finally:
            os.close(descriptor)  # on a network file system this sends it to the server (nfs(5), close-to-open)

    def clear(self) -> None:
        """Remove them all. A directory that is gone meanwhile took its token along."""
        for token in self.placed:
            with contextlib.suppress(OSError):
                os.unlink(token.path)
        self.placed.clear()


def _sweep(directory: bytes) -> None:
    now = time.time()
    with os.scandir(directory) as entries:
        old = [entry.path for entry in entries if entry.name.startswith(PREFIX) and _age(entry, now) > _STALE_S]
    for path in old:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _age(entry: os.DirEntry[bytes], now: float) -> float:
    try:
        return now - entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0
