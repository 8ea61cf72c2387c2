"""A job that lost its terminal, as seen by whoever watches it again."""

from __future__ import annotations

import contextlib
import signal
import struct
from pathlib import Path

from offloader.launcher import socket_path

from .endpoint import Ended, Size, State, Stopped
from .frames import Frames, end_of, frame
from .unwatched import EXIT, OUTPUT

__all__ = ["Attached", "NobodyThere", "left_behind"]

_CHUNK = 1 << 16
_KEYS = 1 << 12


class NobodyThere(Exception):
    """Whoever held the job's terminal is gone, and left no word of how it ended."""


class Attached:
    """Implements Endpoint over a job's socket."""

    def __init__(self, directory: Path) -> None:
        """Raises NobodyThere."""
        try:
            self._socket = socket_path.connect(directory)
        except OSError as error:
            raise NobodyThere(f"nobody holds the terminal of {directory.name}: {error.strerror}") from error
        self._socket.setblocking(False)
        self._directory = directory
        self._frames = Frames()
        self._output = b""
        self._state: State = None

    def filenos(self) -> tuple[int, ...]:
        """See Endpoint."""
        return (self._socket.fileno(),)

    @property
    def patience_s(self) -> float | None:
        """See Endpoint."""
        return None

    def read(self) -> bytes:
        """See Endpoint."""
        self._receive()
        data, self._output = self._output, b""
        return data

    def write(self, data: bytes) -> int:
        """See Endpoint."""
        piece = data[:_KEYS]
        return len(piece) if self._send(frame(b"k", piece)) else 0

    def resize(self, size: Size) -> None:
        """See Endpoint."""
        self._send(frame(b"r", struct.pack("!2H", size.rows, size.columns)))

    def signal(self, number: int) -> None:
        """See Endpoint."""
        self._send(frame(b"s", bytes([number])))
        if number == signal.SIGCONT and isinstance(self._state, Stopped):
            self._state = None

    def state(self) -> State:
        """See Endpoint."""
        return self._state

    def close(self) -> None:
        """See Endpoint: the job goes on."""
        self._socket.close()

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while not isinstance(self._state, Ended):
                try:
                    data = self._socket.recv(_CHUNK)
                except ConnectionError:
                    data = b""
                if not data:
                    self._state = left_behind(self._directory)[1]
                    return
                for kind, payload in self._frames.feed(data):
                    self._take(kind, payload)

    def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == b"o":
            self._output += payload
        elif kind == b"p":
            self._state = Stopped(payload[0])
        elif kind == b"c":
            self._state = None
        elif kind == b"e":
            self._state = end_of(payload)

    def _send(self, data: bytes) -> bool:
        """Small frames over a socket of the same machine: what its buffer does not take at once is not sent."""
        try:
            return self._socket.send(data) == len(data)
        except OSError:
            return False


def left_behind(directory: Path) -> tuple[bytes, Ended]:
    """What a job wrote since it lost its terminal, and how it ended. Raises NobodyThere."""
    try:
        return (directory / OUTPUT).read_bytes(), end_of((directory / EXIT).read_bytes())
    except (OSError, ValueError) as error:
        raise NobodyThere(f"{directory.name}: how it ended is not known") from error
