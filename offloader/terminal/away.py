"""The terminal of a job on another node, over a connection that its controller makes, loses and makes again.

What is said is kept until the other end has it, across every connection and every further move
(launcher/terminal/lasting.py, screen.py).
"""

from __future__ import annotations

import selectors
import signal
import socket
import struct
import time

from offloader.launcher.terminal.lasting import Lasting
from offloader.launcher.terminal.tie import Tie

from .endpoint import Ended, Size, State, Stopped
from .frames import end_of

__all__ = ["Away", "line"]

_KEYS = 1 << 12
_SIZE = struct.Struct("!2H")
_SILENT_S = 10.0


def line(words: str) -> bytes:
    """For whoever sits at the terminal: the only thing on it that is not the job's."""
    shown = "".join(letter for letter in words if letter.isascii() and letter.isprintable())
    return f"\r\n[grid-offloader: {shown}]\r\n".encode("ascii")


class Away:
    """One job, wherever it is."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._lasting = Lasting()
        self._tie: Tie | None = None
        self._output = b""
        self._state: State = None
        self._silent_since = time.monotonic()
        self._told = False
        self._node = ""

    def tied(self, connection: socket.socket) -> None:
        """A way to it; the newest one counts."""
        if self._tie is not None:
            self._tie.close()
        self._tie = Tie(connection, self._lasting, self._selector, self)

    def goes_on_at(self, node: str) -> None:
        """It was moved to that node."""
        self._node = node
        self._output += line(f"now on {node}")

    @property
    def out_of_reach(self) -> bool:
        """Whether there has been no way to it for so long that its user should know."""
        return not self._in_touch and time.monotonic() >= self._silent_since + _SILENT_S

    @property
    def _in_touch(self) -> bool:
        return self._tie is not None and self._lasting.greeted

    def over(self, ended: Ended) -> None:
        """That is what its controller knows, however much of its output is still to come."""
        if not isinstance(self._state, Ended):
            self._state = ended

    @property
    def patience_s(self) -> float | None:
        """See Endpoint."""
        if self._in_touch or self._told:
            return None
        return max(0.0, self._silent_since + _SILENT_S - time.monotonic())

    def serve(self, source: object, mask: int) -> None:
        """The connection is ready for something, or was before it was closed."""
        if self._tie is None or not self._tie.is_at(source):
            return
        if mask & selectors.EVENT_READ:
            for kind, payload in self._tie.receive():
                self._take(kind, payload)
        if self._in_touch:
            self._silent_since = time.monotonic()
            if self._told:
                self._told = False
                self._output += line(f"{self._node} answers again")
        self._flush()

    def read(self) -> bytes:
        """See Endpoint."""
        if self.out_of_reach and not self._told:
            self._told = True
            self._output += line(f"no contact with {self._node}")
        data, self._output = self._output, b""
        return data

    def write(self, data: bytes) -> int:
        """See Endpoint."""
        if self._lasting.full:
            return 0
        self._say(b"k", data[:_KEYS])
        return len(data[:_KEYS])

    def resize(self, size: Size) -> None:
        """See Endpoint."""
        self._say(b"r", _SIZE.pack(*size))

    def signal(self, number: int) -> None:
        """See Endpoint. One that cannot be reached is given up by KILL: nobody could say what became of it."""
        self._say(b"s", bytes([number]))
        if number == signal.SIGCONT and isinstance(self._state, Stopped):
            self._state = None
        if number == signal.SIGKILL and self.out_of_reach:
            self.over(Ended(signal=number))

    def state(self) -> State:
        """See Endpoint."""
        return self._state

    def close(self) -> None:
        """See Endpoint."""
        if self._tie is not None:
            self._tie.last_words()

    def _say(self, kind: bytes, payload: bytes) -> None:
        self._lasting.say(kind, payload)
        self._flush()

    def _flush(self) -> None:
        if self._tie is not None:
            self._tie.flush()
            if not self._tie.open:
                self._tie = None

    def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == b"o":
            self._output += payload
        elif kind == b"p":
            self._state = Stopped(payload[0])
        elif kind == b"c":
            if isinstance(self._state, Stopped):
                self._state = None
        elif kind == b"e":
            self.over(end_of(payload))
