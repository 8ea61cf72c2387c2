"""HTTP/1.1 of one connection: bytes → requests, answers → bytes.

h11 does it, once per different request: Prometheus sends the same one, byte for byte, with every scrape, and what was
understood once need not be understood again. That is a third of what a scrape costs outside the collectors.
"""

import time
from enum import Enum, auto
from http import HTTPStatus

import h11

from exporter.web.answers import Answer, Asked, Headers, asked, text

_CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
_TOO_LARGE = text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "No page takes any input.", last=True)


class Refused(Exception):
    """What came cannot be answered as it was meant. `answer` says why, and ends the connection."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status.phrase)
        self.answer = answer


class Left(Exception):
    """The client sent its end in the middle of a request."""


class Event(Enum):
    """What there is instead of a request."""

    MORE = auto()  # bytes have to come first
    CONTINUE = auto()  # the client waits for `Http.go_on` before it sends the rest
    OVER = auto()  # the client is done


class Http:
    """`feed` and `take` a request, then `begin`, `body` and `end` its answer; and again, if `end` says so.

    Args:
        head_bytes: Of a request that is not complete. It may be longer by what is fed at once.
        body_bytes: Of what a request carries.
    """

    def __init__(self, head_bytes: int, body_bytes: int) -> None:
        self._h11 = h11.Connection(h11.SERVER, head_bytes)
        self._most_body_bytes = body_bytes
        self._request: h11.Request | None = None
        self._body_bytes = 0
        self._whole = b""  # what came last, if nothing of its request came before
        self._usual: tuple[bytes, Asked] | None = None
        self._repeated = False
        self._last = False
        self.begun = False
        """Whether something of the next request, or the client's end, has come."""

    def feed(self, data: bytes) -> None:
        """What the client sent; b"" is its end."""
        if not self.begun and self._usual is not None and data == self._usual[0]:
            self._repeated = True
        else:
            self._whole = b"" if self.begun else data
            self._h11.receive_data(data)
        self.begun = True

    def take(self) -> Asked | Event:
        """The next request. Raises Refused and Left."""
        if self._repeated and self._usual is not None:
            return self._usual[1]
        try:
            return self._understand()
        except h11.RemoteProtocolError as error:
            if self._h11.trailing_data[1]:
                raise Left from error
            status = HTTPStatus(error.error_status_hint)
            raise Refused(text(status, f"{status.phrase}: {error}.", last=True)) from error

    def go_on(self) -> bytes:
        """For the client that waits for it."""
        return self._h11.send(_CONTINUE)

    def begin(self, answer: Answer, more: Headers, *, last: bool) -> bytes:
        """The head of an answer, for the network. `last`: the connection ends with it."""
        self._last = last
        headers = [
            (b"Server", b"grid-exporter"),
            (b"Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()),
            *answer.headers,
            (b"Content-Length", b"%d" % len(answer.content)),
            *more,
        ]
        if last:
            headers.append((b"Connection", b"close"))
        phrase = answer.status.phrase.encode()
        if not self._repeated:
            return self._h11.send(h11.Response(status_code=answer.status, headers=headers, reason=phrase))
        lines = [b"HTTP/1.1 %d %b" % (answer.status, phrase), *[b"%b: %b" % header for header in headers]]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def body(self, data: bytes) -> bytes:
        """A part of what the answer carries, for the network: nothing where HEAD was asked, complete or not."""
        if self._request is not None and self._request.method == b"HEAD":
            return b""
        return data if self._repeated else self._h11.send(h11.Data(data))

    def end(self) -> bool:
        """The answer is complete. Whether another request may come."""
        if not self._repeated:
            self._h11.send(h11.EndOfMessage())
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return False
            self._h11.start_next_cycle()
        self._repeated = False
        self._request = None
        rest, over = self._h11.trailing_data
        self.begun = bool(rest) or over
        return not self._last

    def _understand(self) -> Asked | Event:
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                return Event.MORE
            if isinstance(event, h11.Request):
                self._request = event
                self._body_bytes = 0
                length = next((int(value) for name, value in event.headers if name == b"content-length"), 0)
                if length > self._most_body_bytes:
                    raise Refused(_TOO_LARGE)
                if self._h11.they_are_waiting_for_100_continue:
                    self._whole = b""
                    return Event.CONTINUE
            elif isinstance(event, h11.Data):
                self._body_bytes += len(event.data)
                if self._body_bytes > self._most_body_bytes:
                    raise Refused(_TOO_LARGE)
            elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                return self._understood(asked(self._request))
            else:
                return Event.OVER

    def _understood(self, request: Asked) -> Asked:
        whole, self._whole = self._whole, b""
        if whole and not self._h11.trailing_data[0]:
            self._usual = (whole, request)
        return request
