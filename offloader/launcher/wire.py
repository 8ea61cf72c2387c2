"""JSON documents, one a line, at most 1 MiB each: what both links and all verbs speak."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from .errors import LauncherError

__all__ = ["LIMIT_BYTES", "Document", "LineBuffer", "decode", "emit", "encode", "pack_bytes", "unpack_bytes"]

LIMIT_BYTES = 1 << 20
Document = dict[str, Any]


def encode(document: Document) -> bytes:
    """One line, newline included; ASCII only, so no terminal or transport can change it."""
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Document:
    """Parse one line.

    Raises:
        LauncherError: BAD_MESSAGE: not JSON, or not an object.
    """
    try:
        document = json.loads(line)
    except ValueError as error:
        raise LauncherError("BAD_MESSAGE", f"not JSON: {error}") from error
    except RecursionError as error:
        raise LauncherError("BAD_MESSAGE", "nested too deeply") from error
    if not isinstance(document, dict):
        raise LauncherError("BAD_MESSAGE", "not a JSON object")
    return document


class LineBuffer:
    """Bytes in, complete documents out."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Document]:
        """Add what arrived and return every document that is now complete.

        Raises:
            LauncherError: BAD_MESSAGE: a line over the limit or not a JSON object.
        """
        self._pending += data
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        if max(map(len, [*lines, rest])) > LIMIT_BYTES:
            raise LauncherError("BAD_MESSAGE", f"a line is longer than {LIMIT_BYTES} bytes")
        return [decode(line) for line in lines if line.strip()]


def emit(document: Document) -> None:
    """Write a verb's answer to stdout."""
    sys.stdout.buffer.write(encode(document))
    sys.stdout.buffer.flush()


def pack_bytes(data: bytes) -> str:
    """Bytes as JSON carries them: argv, environment and paths may hold any byte."""
    return base64.b64encode(data).decode("ascii")


def unpack_bytes(text: str) -> bytes:
    """The inverse of pack_bytes. Raises ValueError for anything else than base64."""
    return base64.b64decode(text, validate=True)
