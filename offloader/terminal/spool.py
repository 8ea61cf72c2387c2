"""A job's output while nobody watches: a file of bounded size that keeps the newest part."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LIMIT_BYTES", "Spool"]

LIMIT_BYTES = 16 << 20


class Spool:
    """Grows to its limit; then the older half is left out."""

    def __init__(self, path: Path, limit: int = LIMIT_BYTES) -> None:
        """Args: path: made anew, 0600; limit: bytes. Raises OSError."""
        self._path = path
        self._limit = limit
        self._size = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.left_out = 0

    def append(self, data: bytes) -> None:
        """Keep it. A full disk loses output, never the job."""
        data = data[-self._limit :]
        if self._size + len(data) > self._limit:
            self._make_room(len(data))
        try:
            self._size += os.write(self._file, data)
        except OSError:
            self.left_out += len(data)

    def content(self) -> bytes:
        """What is kept."""
        return os.pread(self._file, self._size, 0)

    def close(self) -> None:
        """The file stays."""
        os.close(self._file)

    def _make_room(self, size: int) -> None:
        content = self.content()
        kept = content[len(content) - min(len(content), self._limit // 2, self._limit - size) :]
        self.left_out += self._size - len(kept)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.ftruncate(self._file, 0)
        self._size = os.write(self._file, kept)
