"""The listening side of a role: one link at a time controls, and the newest wins; a stuck one never blocks the role."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from .errors import LauncherError
from .lease import boottime
from .socket_path import listen
from .wire import LIMIT_BYTES, Document, LineBuffer, encode

__all__ = ["LinkServer"]

_CHUNK = 1 << 16


class LinkServer:
    """Registers itself with a selector; `receive` turns its events into messages."""

    def __init__(self, directory: Path, selector: selectors.BaseSelector, hello: Callable[[], Document]) -> None:
        self._selector = selector
        self._hello = hello
        self._listener = listen(directory)
        self._link: socket.socket | None = None
        self._incoming = LineBuffer()
        self._outgoing = bytearray()
        self.unlinked_since = boottime()
        self.connections = 0
        selector.register(self._listener, selectors.EVENT_READ, self)

    @property
    def linked(self) -> bool:
        """Whether somebody is there."""
        return self._link is not None

    def unlinked_for(self, now: float) -> float:
        """Seconds without any link."""
        return 0.0 if self.linked else now - self.unlinked_since

    def receive(self, source: object, mask: int) -> list[Document]:
        """Serve one selector event of ours."""
        if source is self._listener:
            self._accept()
            return []
        if source is not self._link:
            return []  # replaced earlier in the same round
        if mask & selectors.EVENT_WRITE:
            self._flush()
        return self._read() if mask & selectors.EVENT_READ else []

    def send(self, document: Document) -> None:
        """Queue a document for whoever is linked; nobody there is fine: the state file says the same."""
        if self._link is None:
            return
        self._outgoing += encode(document)
        if len(self._outgoing) > LIMIT_BYTES:
            self.drop()
            return
        self._flush()

    def drop(self) -> None:
        """Close the present link."""
        if self._link is not None:
            self._selector.unregister(self._link)
            self._link.close()
            self._link = None
            self.unlinked_since = boottime()

    def close(self) -> None:
        """Send what can still be sent, then stop listening."""
        if self._link is not None:
            self._link.settimeout(1.0)
            try:
                self._link.sendall(self._outgoing)
            except OSError:
                self._outgoing.clear()
            self.drop()
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError:
            return
        self.drop()
        link.setblocking(False)
        self._link = link
        self._incoming, self._outgoing = LineBuffer(), bytearray()
        self.connections += 1
        self._selector.register(link, selectors.EVENT_READ, self)
        self.send(self._hello())

    def _read(self) -> list[Document]:
        assert self._link is not None
        try:
            data = self._link.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.drop()
            return []
        try:
            return self._incoming.feed(data)
        except LauncherError as error:
            self.send({"error": error.code, "detail": error.detail})
            self.drop()
            return []

    def _flush(self) -> None:
        assert self._link is not None
        try:
            while self._outgoing:
                del self._outgoing[: self._link.send(self._outgoing)]
        except BlockingIOError:
            self._selector.modify(self._link, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
            return
        except OSError:
            self.drop()
            return
        self._selector.modify(self._link, selectors.EVENT_READ, self)
