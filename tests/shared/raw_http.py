"""HTTP byte by byte, for what no well-behaved client sends."""

import re
import socket
import ssl
from dataclasses import dataclass

SECONDS = 20.0


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


def connect(address: tuple[str, int], tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connection whose every operation ends within a deadline."""
    plain = socket.create_connection(address, SECONDS)
    return plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")


def exchange(address: tuple[str, int], sent: bytes, *, finish: bool = False) -> bytes:
    """All that comes back until the server closes. `finish`: say that nothing more is sent."""
    with connect(address) as connection:
        connection.sendall(sent)
        if finish:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def read_response(connection: socket.socket, *, head: bool = False) -> Response:
    """One, byte by byte, so that nothing of the next is taken. `head`: it answers HEAD."""
    raw = b""
    while not raw.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"closed after {raw!r}"
        raw += byte
    status, headers = _parse(raw)
    body = b""
    while not head and len(body) < int(headers["content-length"]):
        part = connection.recv(int(headers["content-length"]) - len(body))
        assert part, f"closed after {len(body)} bytes of {headers['content-length']}"
        body += part
    return Response(status, headers, body)


def responses(raw: bytes) -> list[Response]:
    """Those that came one after the other."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        status, headers = _parse(head)
        length = int(headers.get("content-length", len(raw)))
        found.append(Response(status, headers, raw[:length]))
        raw = raw[length:]
    return found


def _parse(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    match = re.fullmatch(r"HTTP/1\.[01] (\d{3}) .+", first)
    assert match, first
    return int(match[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
