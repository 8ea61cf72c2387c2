"""Reading kernel files, and what can go wrong while doing so."""

import os
from pathlib import Path

_CHUNK = 65536


class ParseError(ValueError):
    """A kernel file does not look as documented; the message names the file's kind and the offending text."""


def read_bytes(path: str | Path) -> bytes:
    """All of a file. Raises OSError: ENOENT and ESRCH mean gone, EACCES and EPERM mean denied."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, _CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def read_text(path: str | Path) -> str:
    """All of a file as text; bytes that are not UTF-8 survive as surrogates."""
    return read_bytes(path).decode("utf-8", "surrogateescape")


def read_optional(path: str | Path) -> str | None:
    """As `read_text`, None where the file does not exist, cannot be read, or the kernel does not support it."""
    try:
        return read_text(path)
    except OSError:
        return None
