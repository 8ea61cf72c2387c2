"""What is asked and what is answered: as much of HTTP as the pages have to know."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

import h11

Headers = tuple[tuple[bytes, bytes], ...]

_TEXT: Headers = ((b"Content-Type", b"text/plain; charset=utf-8"),)
_NO_WEIGHT = re.compile(rb"q\s*=\s*0(\.0*)?")


@dataclass(frozen=True, slots=True)
class Asked:
    """A complete request, as far as any answer depends on it. `gzip`: the client takes that coding."""

    method: bytes
    path: bytes
    accept: str
    gzip: bool
    authorization: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `last`: the connection ends with it."""

    status: HTTPStatus
    content: bytes
    headers: Headers = _TEXT
    last: bool = False


class Client(Protocol):
    """Who waits for an answer. `withdraw` is called when he goes before he has it."""

    address: str
    withdraw: Callable[[], None] | None

    def reply(self, answer: Answer) -> None:
        """Sends it. Once per request."""


def text(status: HTTPStatus, message: str, *headers: tuple[bytes, bytes], last: bool = False) -> Answer:
    """A line for whoever reads it."""
    return Answer(status, f"{message}\n".encode(), _TEXT + headers, last)


def asked(request: h11.Request) -> Asked:
    """What a request asks for. A header that comes several times is one list (RFC 9110, 5.3)."""
    found = {b"accept": b"", b"accept-encoding": b"", b"authorization": b""}
    for name, value in request.headers:
        if name in found:
            found[name] = found[name] + b"," + value if found[name] else value
    target = request.target
    if not target.startswith(b"/"):  # absolute form, which proxies send: RFC 9112, 3.2.2
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    return Asked(
        request.method,
        target.partition(b"?")[0],
        found[b"accept"].decode("latin-1"),
        accepts_gzip(found[b"accept-encoding"]),
        found[b"authorization"],
    )


def accepts_gzip(header: bytes) -> bool:
    """Whether Accept-Encoding allows gzip (RFC 9110, 12.5.3); `q=0` forbids."""
    if header == b"gzip":  # Prometheus
        return True
    allowed: dict[bytes, bool] = {}
    for part in header.lower().split(b","):
        coding, _, weight = part.partition(b";")
        allowed[coding.strip()] = _NO_WEIGHT.fullmatch(weight.strip()) is None
    return allowed.get(b"gzip", allowed.get(b"x-gzip", allowed.get(b"*", False)))
