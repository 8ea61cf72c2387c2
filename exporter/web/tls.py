"""TLS between bytes of the network and of HTTP, by ssl.MemoryBIO.

Not asyncio's own: that holds 256 KiB for each connection (Python 3.11), gives a handshake no place in the bounds of
connections, and cannot tell a browser that speaks HTTP to this port what is wrong.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress


class ClientRefused(ssl.SSLError):
    """The client's certificate is valid, but not one of those that may come in."""

    reason = "its certificate has none of client_allowed_sans"


class TlsStream:
    """The server's side of one TLS connection. Any method may raise ssl.SSLError.

    Args:
        context: Of the server. A connection keeps the one that it began with.
        allowed: Whether a client with this certificate (ssl.SSLSocket.getpeercert's form) may come in.
    """

    def __init__(self, context: ssl.SSLContext, allowed: Callable[[object], bool]) -> None:
        self.context = context
        self._allowed = allowed
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._established = False

    def feed(self, data: bytes) -> None:
        """Bytes from the network."""
        self._incoming.write(data)

    def feed_end(self) -> None:
        """The network has no more."""
        self._incoming.write_eof()

    def take(self) -> bytes:
        """Bytes for the network."""
        return self._outgoing.read()

    def pending(self) -> bool:
        """Whether there may be something to read that came earlier."""
        return self._incoming.pending > 0 or self._tls.pending() > 0

    def handshake(self) -> bool:
        """Goes on with it; True when it is done and the client may come in."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._established = True
        if not self._allowed(self._tls.getpeercert()):
            raise ClientRefused(ClientRefused.reason)
        return True

    def read(self, most: int) -> bytes | None:
        """At most so many bytes of HTTP; None where more must come first, b"" at the end."""
        try:
            return self._tls.read(most)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""

    def encrypt(self, data: bytes) -> bytes:
        """Bytes of HTTP → bytes for the network."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        return self.take()

    def goodbye(self) -> bytes:
        """What ends the stream, for the network."""
        if self._established:
            with suppress(ssl.SSLError):  # that the client has not said goodbye yet is no error
                self._tls.unwrap()
        return self.take()
