"""What goes over the socket between a job that lost its terminal and whoever watches it again.

A frame: one byte of kind, four of length (network order), and that much payload. From the watcher: keys, resize (rows,
columns), signal. To him: output, stopped (by which signal), running again, ended (`exit N` or `signal N`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .endpoint import Ended

__all__ = ["LIMIT_BYTES", "Frames", "end_of", "frame", "words_of"]

LIMIT_BYTES = 1 << 20
_HEAD = struct.Struct("!cI")


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """One frame."""
    return _HEAD.pack(kind, len(payload)) + payload


class Frames:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Those that are complete now. Raises ValueError: one is longer than 1 MiB."""
        self._pending += data
        while len(self._pending) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._pending)
            if length > LIMIT_BYTES:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._pending) < _HEAD.size + length:
                return
            payload = self._pending[_HEAD.size : _HEAD.size + length]
            self._pending = self._pending[_HEAD.size + length :]
            yield kind, payload


def words_of(ended: Ended) -> bytes:
    """How it ended, as text: for a frame, and for the file that outlives the job."""
    if ended.exit_code is not None:
        return f"exit {ended.exit_code}".encode("ascii")
    return f"signal {ended.signal}".encode("ascii")


def end_of(words: bytes) -> Ended:
    """The inverse. Raises ValueError."""
    kind, _, number = words.decode("ascii").partition(" ")
    if kind not in {"exit", "signal"}:
        raise ValueError(f"{kind!r} is no end")
    return Ended(exit_code=int(number)) if kind == "exit" else Ended(signal=int(number))
