"""Space kept back for the day when the disk is full: enough to journal the end of every move in flight."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["SpareSpace"]


class SpareSpace:
    """Two reserves of real blocks: the write-ahead log, longer than its contents, and a file to delete.

    The log comes first: nobody can take its blocks. SQLite reads it up to the last frame whose checksum holds
    (https://sqlite.org/walformat.html, recovery) and keeps its length until the journal is closed. The file is for what
    that does not cover: the log used up, pages that a checkpoint adds to the journal.
    """

    def __init__(self, directory: Path, log: Path, size_bytes: int) -> None:
        """Args: directory: the state directory; log: the write-ahead log; size_bytes: of each reserve."""
        self._file = directory / "spare"
        self._log = log
        self._size = size_bytes

    def keep(self) -> bool:
        """Make sure that both are there; False: there is no room for them now."""
        try:
            self._allocate(self._file, os.O_CREAT)
            with contextlib.suppress(FileNotFoundError):  # SQLite makes it with the first access
                self._allocate(self._log, 0)
        except OSError:
            self._file.unlink(missing_ok=True)
            return False
        return True

    def spend(self) -> bool:
        """Delete the file; False: it was gone already."""
        try:
            self._file.unlink()
        except OSError:
            return False
        # Most of it for the log, at once: left free, whatever filled the disk would take it.
        with contextlib.suppress(OSError):
            self._allocate(self._log, 0, more=self._size // 2)
        return True

    def _allocate(self, file: Path, flags: int, *, more: int = 0) -> None:
        """Blocks up to the reserve's size, or so many beyond the file's present end."""
        fd = os.open(file, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
        try:
            os.posix_fallocate(fd, 0, os.fstat(fd).st_size + more if more else self._size)
        finally:
            os.close(fd)
