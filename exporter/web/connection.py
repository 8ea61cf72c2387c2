"""One client's connection: HTTP over asyncio, with or without TLS, bounded in bytes and in time."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Protocol

from exporter.web.answers import Answer, Asked, Client, Headers, text
from exporter.web.http import Event, Http, Left, Refused
from exporter.web.tls import TlsStream

_CHUNK_BYTES = 64 << 10  # as much of an answer as is handed to a client that does not read

_PLAIN_ON_TLS = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nThis port speaks HTTPS.\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them together, can take of the exporter. Bytes and seconds.

    Attributes:
        connections: Open at a time.
        head_bytes: Of a request's first line and headers.
        body_bytes: Of what a request carries: no page takes any.
        request_seconds: From a request's first byte, or the connection's begin, to its last; TLS included.
        answer_seconds: Until the answer is there; longer than Prometheus waits.
        write_seconds: Until the client has taken an answer that it reads slowly.
        idle_seconds: Between requests: longer than anybody's scrape interval, so that connections are kept.
        stop_seconds: For the answers under way when the exporter is told to end.
        patience_seconds: For which a connection is safe from making room for another.
    """

    connections: int = 512
    head_bytes: int = 16 << 10
    body_bytes: int = 16 << 10
    request_seconds: float = 10.0
    answer_seconds: float = 60.0
    write_seconds: float = 30.0
    idle_seconds: float = 90.0
    stop_seconds: float = 5.0
    patience_seconds: float = 1.0


class House(Protocol):
    """What a connection needs of the server that it belongs to."""

    limits: Limits
    buffer: bytearray
    """What is read next; one for all connections, emptied before anybody else reads. A quarter of a head at most."""

    @property
    def headers(self) -> Headers:
        """For every answer."""

    def opened(self, connection: "Connection") -> None:
        """It is there, and waits for its client."""

    def handle(self, client: Client, request: Asked) -> None:
        """Has `client.reply` called, now or later."""

    def waits(self, connection: "Connection") -> None:
        """From now on it waits for its client: it may have to make room."""

    def works(self, connection: "Connection") -> None:
        """From now on its client waits for us."""

    def ends(self, connection: "Connection") -> bool:
        """Whether the connection is to end with the next answer."""

    def gone(self, connection: "Connection") -> None:
        """It is closed."""

    def no_tls(self, connection: "Connection", error: ssl.SSLError) -> None:
        """The handshake failed."""


class _Phase(Enum):
    HANDSHAKE = auto()
    READING = auto()  # a request; also the time before a connection's first
    IDLE = auto()  # between requests
    WORKING = auto()  # the client waits for us
    WRITING = auto()
    CLOSING = auto()  # everything is said; what still comes is thrown away
    CLOSED = auto()


class Connection(asyncio.BufferedProtocol):
    """From accept to close.

    The deadline of a phase moves on with every request, its timer does not: it looks when it fires. `since` is when
    the connection came, by the loop's clock: requests do not make it any younger.
    """

    def __init__(self, house: House, address: str, tls: TlsStream | None) -> None:
        self.address = address
        self.withdraw: Callable[[], None] | None = None
        self.since = 0.0
        self.tls = tls
        self._house = house
        self._http = Http(house.limits.head_bytes - len(house.buffer), house.limits.body_bytes)
        self._phase = _Phase.READING if tls is None else _Phase.HANDSHAKE
        self._asked: Asked | None = None
        self._rest = memoryview(b"")
        self._choked = False  # the transport takes no more of the answer for now
        self._proceeding = False
        self._ended = False  # the client sends no more
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._within(self._house.limits.request_seconds)
        self.since = self._loop.time()
        self._house.opened(self)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 -- signature of the base
        """Where the next bytes go."""
        return self._house.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        if self._phase is _Phase.CLOSING:
            return
        data = bytes(memoryview(self._house.buffer)[:nbytes])
        if self.tls is None:
            self._http.feed(data)
        else:
            self.tls.feed(data)
        self._came()

    def eof_received(self) -> bool:
        """The client sends no more; it may still read. True keeps the transport open until we close it.

        It may as well be gone, as Prometheus after its time-out: then the place is better given to another.
        """
        self._ended = True
        if self._phase in (_Phase.CLOSING, _Phase.HANDSHAKE):
            self._transport.close()
            return True
        if self.tls is None:
            self._http.feed(b"")
        else:
            self.tls.feed_end()
        self._came()
        return True

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._choked = True

    def resume_writing(self) -> None:
        """It has read."""
        self._choked = False
        if self._phase is _Phase.WRITING:
            self._pump()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- signature of the base
        """It is closed, by whomever."""
        self._phase = _Phase.CLOSED
        if self._timer is not None:
            self._timer.cancel()
        if self.withdraw is not None:
            self.withdraw()
        self._house.gone(self)

    def abort(self) -> None:
        """Closes it at once."""
        self._transport.abort()

    def stop(self) -> None:
        """Closes it unless an answer is under way; `House.ends` has that one be the last."""
        if self._phase not in (_Phase.WORKING, _Phase.WRITING):
            self._phase = _Phase.CLOSING
            self._transport.close()

    def reply(self, answer: Answer) -> None:
        """Sends the answer to the request under way."""
        self.withdraw = None
        head = self._http.begin(answer, self._house.headers, last=answer.last or self._house.ends(self))
        if self._asked is None or self._asked.method != b"HEAD":
            self._rest = memoryview(answer.content)
        self._asked = None
        self._phase = _Phase.WRITING
        self._within(self._house.limits.write_seconds)
        self._house.waits(self)
        self._pump(head)

    def _came(self) -> None:
        """Something came, or the end: goes on with it unless an answer has to be given first."""
        if self._phase in (_Phase.WORKING, _Phase.WRITING):
            self._transport.pause_reading()
            if self._ended:
                self._house.waits(self)
            return
        if self._phase is _Phase.HANDSHAKE:
            self._shake_hands()
        self._proceed()
        if self._phase is _Phase.IDLE and self._http.begun:
            self._phase = _Phase.READING
            self._within(self._house.limits.request_seconds)

    def _shake_hands(self) -> None:
        assert self.tls is not None
        try:
            established = self.tls.handshake()
        except ssl.SSLError as error:
            self._house.no_tls(self, error)
            self._transport.write(self.tls.take())  # the alert
            if error.reason == "HTTP_REQUEST":  # OpenSSL's word for what it got
                self._transport.write(_PLAIN_ON_TLS)
            self._end()
            return
        self._transport.write(self.tls.take())
        if established:
            self._phase = _Phase.READING

    def _proceed(self) -> None:
        """Takes requests as far as they have come, one at a time."""
        self._proceeding = True
        try:
            while self._phase in (_Phase.READING, _Phase.IDLE):
                got = self._http.take()
                if isinstance(got, Asked):
                    self._ask(got)
                elif got is Event.CONTINUE:
                    self._write(self._http.go_on())
                elif got is Event.OVER:
                    self._end()
                elif not self._decrypt():
                    break
        except Refused as refused:
            self.reply(refused.answer)
        except (Left, ssl.SSLError):
            self._phase = _Phase.CLOSING
            self._transport.close()
        finally:
            self._proceeding = False

    def _decrypt(self) -> bool:
        """Gives HTTP what TLS has for it; False where more must come first."""
        data = None if self.tls is None else self.tls.read(len(self._house.buffer))
        if data is None:
            return False
        self._ended |= not data
        self._http.feed(data)
        return True

    def _ask(self, request: Asked) -> None:
        self._asked = request
        self._phase = _Phase.WORKING
        self._within(self._house.limits.answer_seconds)
        self._house.works(self)
        self._house.handle(self, request)

    def _pump(self, head: bytes = b"") -> None:
        """Hands over as much of the answer as the transport takes."""
        out = head
        while out or self._rest:
            if self._rest:
                out += self._http.body(bytes(self._rest[:_CHUNK_BYTES]))
                self._rest = self._rest[_CHUNK_BYTES:]
            self._write(out)
            out = b""
            if self._choked:
                return
        self._answered()

    def _answered(self) -> None:
        if not self._http.end() or self._house.ends(self):
            self._end()
            return
        self._phase = _Phase.IDLE
        self._within(self._house.limits.idle_seconds)
        if not self._ended:
            self._transport.resume_reading()
        if not self._proceeding and self._more():
            self._came()

    def _more(self) -> bool:
        """Whether another request, or the end, may have come while there was an answer to give."""
        return self._ended or self._http.begun or (self.tls is not None and self.tls.pending())

    def _end(self) -> None:
        """Says goodbye and lets the client go first: to close on unread bytes takes away the answer it has not read."""
        if self.tls is not None:
            self._transport.write(self.tls.goodbye())
        self._phase = _Phase.CLOSING
        self._within(self._house.limits.write_seconds)
        if self._ended or self._house.ends(self):
            self._transport.close()
            return
        with suppress(OSError):  # it has gone already
            self._transport.write_eof()
        self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        try:
            self._transport.write(data if self.tls is None else self.tls.encrypt(data))
        except ssl.SSLError:
            self._transport.abort()

    def _within(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= self._deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._due)
        elif self._phase is _Phase.WORKING:
            if self.withdraw is not None:
                self.withdraw()
            self.reply(text(HTTPStatus.SERVICE_UNAVAILABLE, "The node takes too long to be read.", last=True))
        elif self._phase is _Phase.READING and self._http.begun:
            self.reply(text(HTTPStatus.REQUEST_TIMEOUT, "The request takes too long.", last=True))
        else:
            self._transport.abort()
