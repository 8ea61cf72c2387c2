"""Where whoever holds a job's terminal is asked something: one line of JSON, one line back.

After `{"do":"tie"}` was answered without an error the connection stays, and is the terminal's (lasting.py).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
from collections.abc import Callable

from ..errors import LauncherError
from ..wire import Document, LineBuffer, encode

__all__ = ["TIE", "Door", "address_of", "peer_uid"]

TIE = "tie"
_GUESTS = 8
_CHUNK = 1 << 16
_ANSWER_S = 2.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


class Door:
    """Belongs to a selector; its events have this object as their data."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        answer: Callable[[Document], Document],
        tied: Callable[[socket.socket, Document], None],
    ) -> None:
        """Args: answer: to a request; raises LauncherError. tied: takes over a connection, given its request."""
        self._listener = listener
        self._selector = selector
        self._answer = answer
        self._tied = tied
        self._guests: dict[socket.socket, LineBuffer] = {}
        selector.register(listener, selectors.EVENT_READ, self)

    def serve(self, source: object) -> None:
        """Something of ours is readable, or was before it was closed."""
        if source is self._listener:
            self._admit()
        elif isinstance(source, socket.socket) and source in self._guests:
            self._hear(source)

    def close(self) -> None:
        """Nobody is let in any more."""
        for guest in tuple(self._guests):
            self._leave(guest).close()
        self._selector.unregister(self._listener)
        self._listener.close()

    def _admit(self) -> None:
        """By root and by our own account only: an abstract address has no mode."""
        with contextlib.suppress(OSError):
            guest, _ = self._listener.accept()
            if peer_uid(guest) not in {0, os.geteuid()}:
                guest.close()
                return
            if len(self._guests) >= _GUESTS:
                self._leave(next(iter(self._guests))).close()
            guest.setblocking(False)
            self._guests[guest] = LineBuffer()
            self._selector.register(guest, selectors.EVENT_READ, self)

    def _hear(self, guest: socket.socket) -> None:
        try:
            data = guest.recv(_CHUNK)
            requests = self._guests[guest].feed(data)
        except BlockingIOError:
            return
        except (OSError, LauncherError):
            data, requests = b"", []
        if data and not requests:
            return
        self._leave(guest)
        if requests:
            self._serve(guest, requests[0])
        else:
            guest.close()

    def _serve(self, guest: socket.socket, request: Document) -> None:
        try:
            answer = self._answer(request)
        except LauncherError as error:
            answer = {"error": error.code, "detail": error.detail}
        except (KeyError, TypeError, ValueError) as error:
            answer = {"error": "BAD_MESSAGE", "detail": str(error)}
        try:
            guest.settimeout(_ANSWER_S)
            guest.sendall(encode(answer))
        except OSError:
            guest.close()
            return
        if request.get("do") == TIE and "error" not in answer:
            self._tied(guest, request)
        else:
            guest.close()

    def _leave(self, guest: socket.socket) -> socket.socket:
        self._selector.unregister(guest)
        del self._guests[guest]
        return guest


def peer_uid(connection: socket.socket) -> int:
    """The account at the other end of a unix socket: as it was at its connect(2), or listen(2)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(raw)[1]
    return uid


def address_of(uid: int, name: str) -> bytes:
    r"""Where the stub of a job of `run --local` listens: an abstract address (unix(7)).

    It needs no directory, which root might not see on a network file system, and ends with the stub, however that ends.
    """
    return b"\0grid-offload/terminal/%d/%s" % (uid, name.encode("ascii"))
