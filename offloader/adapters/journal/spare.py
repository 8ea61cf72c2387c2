"""Space kept back for the day when the disk is full: enough to journal the end of every move in flight."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["SpareSpace"]


class SpareSpace:
    """A file of real blocks beside the journal. Spent when the disk is full, filled again when there is room.

    Spending deletes it and gives its blocks to the write-ahead log at once: left free they would be taken by
    whatever filled the disk. The log may be longer than its contents: SQLite reads it up to the last frame whose
    checksum holds (https://sqlite.org/walformat.html, recovery).
    """

    def __init__(self, directory: Path, log: Path, size_bytes: int) -> None:
        """Args: directory: the state directory; log: the write-ahead log; size_bytes: how much to keep back."""
        self._file = directory / "spare"
        self._log = log
        self._size = size_bytes

    @property
    def kept(self) -> bool:
        """Whether there is anything to spend."""
        return self._file.exists()

    def keep(self) -> bool:
        """Make sure that the space is kept back; False: there is no room for it now."""
        try:
            fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size)
            finally:
                os.close(fd)
        except OSError:
            self._file.unlink(missing_ok=True)
            return False
        return True

    def spend(self) -> bool:
        """Give the space to the log; False: nothing was kept back."""
        try:
            self._file.unlink()
        except OSError:
            return False
        try:
            fd = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True  # no log yet: the room is free for its first page
        try:
            # Leaves the rest to the journal's own pages, which a checkpoint writes.
            os.posix_fallocate(fd, os.fstat(fd).st_size, self._size // 2)
        except OSError:
            return True  # somebody was faster: what is left may still do
        finally:
            os.close(fd)
        return True
