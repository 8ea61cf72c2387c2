"""Capsules on the head's disk: one file per job, mode 0600, in a directory of mode 0700 (safety.md, Hand-off 13)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from offloader.errors import JournalError

__all__ = ["CapsuleFiles"]


class CapsuleFiles:
    """Implements `moves.tools.Capsules`. They hold secrets: for the controller's eyes only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)

    def put(self, job: str, capsule: bytes) -> None:
        """Durable when it returns. Raises JournalError: without its capsule a job could not be brought back."""
        scratch = self._path(job).with_suffix(".new")
        try:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(capsule)
                file.flush()
                os.fsync(file.fileno())
            scratch.rename(self._path(job))
            self._sync_directory()
        except OSError as error:
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise JournalError(
                f"the capsule of job {job} cannot be kept in {self._directory}: {error.strerror}"
            ) from error

    def get(self, job: str) -> bytes | None:
        """None when there is none."""
        try:
            return self._path(job).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, job: str) -> None:
        """Nothing to drop is fine."""
        self._path(job).unlink(missing_ok=True)

    def _path(self, job: str) -> Path:
        return self._directory / f"{job}.json"

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
