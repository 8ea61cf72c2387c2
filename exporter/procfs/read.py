"""Reading kernel files, and what can go wrong while doing so."""

import errno
import os
from pathlib import Path

_CHUNK = 65536
_MOST_DIGITS = 20
"""Of an unsigned 64-bit number: the kernel shows no larger ones."""

_UNSEEN = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ESRCH, errno.ENODEV, errno.EACCES, errno.EPERM, errno.EOPNOTSUPP}
)
"""Gone, denied, or not offered by this kernel (PSI that is switched off: EOPNOTSUPP). Anything else is a fault."""


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
    """As `read_text`, None where there is no such file, it is denied, or the kernel does not support it.

    Raises OSError for what is no answer: an I/O error, a directory in place of the file.
    """
    try:
        return read_text(path)
    except OSError as error:
        if error.errno in _UNSEEN:
            return None
        raise


def natural(word: str | bytes) -> int:
    """An unsigned decimal number as the kernel writes it. Raises ValueError for all else that int() would take."""
    if len(word) > _MOST_DIGITS or not (word.isascii() and word.isdigit()):
        raise ValueError(f"no number: {word[:40]!r}")
    return int(word)
