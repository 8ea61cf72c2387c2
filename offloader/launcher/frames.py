"""What the staging verbs speak on stdin and stdout: raw bytes in frames, so that their end is no lost connection.

A frame is one letter, the length of its content (4 bytes, big endian), and the content:

| letter | content |
| --- | --- |
| `J` | one JSON document, for whoever is linked to the verb: the request, the command line, the report |
| `D` | a piece of the other side's input, handed on as it is |
| `E` | nothing: the other side's input has ended |
"""

from __future__ import annotations

import json
import os
import struct

from .errors import LauncherError
from .wire import Document

__all__ = ["LIMIT_BYTES", "FrameBuffer", "Frames", "frame", "said"]

LIMIT_BYTES = 16 << 20
_HEAD = struct.Struct(">cI")
_KINDS = frozenset({b"J", b"D", b"E"})
_CHUNK = 1 << 16


def frame(kind: bytes, content: bytes = b"") -> bytes:
    """One frame as it travels."""
    return _HEAD.pack(kind, len(content)) + content


def said(document: Document) -> bytes:
    """A document as a frame."""
    return frame(b"J", json.dumps(document, separators=(",", ":")).encode("ascii"))


class FrameBuffer:
    """Bytes in, complete frames out."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Add what arrived; every frame that is complete now. Raises LauncherError (BAD_MESSAGE)."""
        self._pending += data
        found = []
        while len(self._pending) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._pending)
            if kind not in _KINDS or length > LIMIT_BYTES:
                raise LauncherError("BAD_MESSAGE", "no frame of ours")
            if len(self._pending) < _HEAD.size + length:
                break
            found.append((kind, bytes(self._pending[_HEAD.size : _HEAD.size + length])))
            del self._pending[: _HEAD.size + length]
        return found


class Frames:
    """Frames over a pair of descriptors, blocking."""

    def __init__(self, reading: int = 0, writing: int = 1) -> None:
        self._reading = reading
        self._writing = writing
        self._buffer = FrameBuffer()
        self._ready: list[tuple[bytes, bytes]] = []

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next frame; None when the connection is gone. Raises LauncherError (BAD_MESSAGE)."""
        while not self._ready:
            data = os.read(self._reading, _CHUNK)
            if not data:
                return None
            self._ready = self._buffer.feed(data)
        return self._ready.pop(0)

    def document(self) -> Document:
        """The next frame, which must be a document. Raises LauncherError (BAD_MESSAGE)."""
        received = self.receive()
        if received is None or received[0] != b"J":
            raise LauncherError("BAD_MESSAGE", "a document was expected")
        try:
            document = json.loads(received[1])
        except (ValueError, RecursionError) as error:
            raise LauncherError("BAD_MESSAGE", "no JSON document") from error
        if not isinstance(document, dict):
            raise LauncherError("BAD_MESSAGE", "no JSON object")
        return document

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """Send one frame. Raises OSError when nobody listens any more."""
        self._write(frame(kind, content))

    def say(self, document: Document) -> None:
        """Send a document. Raises OSError."""
        self._write(said(document))

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._writing, rest) :]
