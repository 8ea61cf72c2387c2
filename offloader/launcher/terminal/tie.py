"""One connection between both ends of a job's terminal; nothing here waits, and the conversation outlives it."""

from __future__ import annotations

import selectors
import socket

from .lasting import Lasting, Message

__all__ = ["Tie"]

_CHUNK = 1 << 16
_LAST_WORDS_S = 1.0


class Tie:
    """Belongs to a selector while it lives; its events have `data` as their data."""

    def __init__(
        self, connection: socket.socket, lasting: Lasting, selector: selectors.BaseSelector, data: object
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._lasting = lasting
        self._selector = selector
        self._data = data
        self._outgoing = bytearray(lasting.greeting())
        self._mask = 0
        self.open = True
        self.flush()

    def is_at(self, source: object) -> bool:
        """Whether an event is of this connection."""
        return source is self._connection

    def receive(self) -> list[Message]:
        """What is new. A connection that ended, or says nonsense, is closed by it."""
        try:
            data = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        try:
            found = self._lasting.hear(data)
        except ValueError:
            found, data = [], b""
        if not data:
            self.close()
        return found

    def flush(self, *, listening: bool = True) -> None:
        """Write what can be written; `listening` says whether more is wanted from the other end just now."""
        if not self.open:
            return
        try:
            while self._outgoing or self._refill():
                del self._outgoing[: self._connection.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._watch((selectors.EVENT_READ if listening else 0) | (selectors.EVENT_WRITE if self._outgoing else 0))

    def last_words(self) -> None:
        """Write what is left, for at most a second; then it is closed."""
        if self.open:
            self._connection.settimeout(_LAST_WORDS_S)
            try:
                while self._outgoing or self._refill():
                    self._connection.sendall(self._outgoing)
                    self._outgoing.clear()
                self._connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        self.close()

    def close(self) -> None:
        """Calling it again is fine."""
        if self.open:
            self.open = False
            self._watch(0)
            self._connection.close()

    def _refill(self) -> bool:
        self._outgoing += self._lasting.unsaid()
        return bool(self._outgoing)

    def _watch(self, mask: int) -> None:
        if mask and self._mask:
            self._selector.modify(self._connection, mask, self._data)
        elif mask:
            self._selector.register(self._connection, mask, self._data)
        elif self._mask:
            self._selector.unregister(self._connection)
        self._mask = mask
