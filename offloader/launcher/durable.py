"""Files that survive a crash: written beside, fsynced, renamed, and the directory fsynced (rename(2), fsync(2))."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .wire import Document

__all__ = ["read_json", "sync_directory", "write_bytes", "write_json"]


def sync_directory(path: Path) -> None:
    """Make renames and creations in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, document: Document) -> None:
    """Replace a file atomically and durably, mode 0600. Raises OSError; the old content then stays."""
    _replace(path, path.with_name(f".{path.name}.new"), json.dumps(document, separators=(",", ":")).encode("ascii"))


def write_bytes(path: Path, data: bytes, mode: int) -> None:
    """The same for any content, also where several nodes write one file at once; exactly that mode, whatever umask."""
    beside = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        _replace(path, beside, data, mode)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _replace(path: Path, beside: Path, data: bytes, mode: int = 0o600) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(beside, flags, 0o600), "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
    sync_directory(path.parent)


def read_json(path: Path) -> Document | None:
    """The document, or None when there is no such file. Raises ValueError when it holds something else."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no JSON object")  # noqa: TRY004 (the content is wrong, not a type of ours)
    return document
