"""`terminal WHERE` asks whoever holds a job's terminal; `tie WHERE …` is a way to him, for as long as it lasts.

WHERE is a directory, that of an attempt on this node; or `UID/NAME`: the stub of `run --local` here that says NAME.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import sys
from pathlib import Path

from ..durable import read_json
from ..errors import LauncherError
from ..socket_path import connect
from ..splice import failed, say, splice
from ..wire import LIMIT_BYTES, Document, decode, encode
from .door import TIE, address_of, peer_uid
from .lasting import Lasting
from .screen import LEFT, NAME

__all__ = ["main", "main_tie"]

_STUB = re.compile(r"(\d{1,10})/(local_[0-9_]{1,40})")
_ANSWER_S = 8.0
_CHUNK = 1 << 16
_GONE = "NOT_RUNNING"


def main(arguments: list[str]) -> Document:
    """The verb: one request on stdin, its answer. Raises LauncherError (NOT_RUNNING: nobody holds it any more)."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "terminal WHERE < request")
    with _connected(arguments[0]) as connection:
        return _ask(connection, decode(sys.stdin.buffer.read()))[0]


def main_tie(arguments: list[str]) -> int:
    """The verb: `tie DIR`, or `tie UID/NAME JOB EPOCH NODE`, which says where the other end is."""
    if len(arguments) not in {1, 4}:
        raise LauncherError("USAGE", "tie DIR, or tie UID/NAME JOB EPOCH NODE")
    where, *facts = arguments
    try:
        request: Document = {"do": TIE}
        if facts:
            request["job"], request["epoch"], request["node"] = facts
        with _connected(where) as connection:
            answer, more = _ask(connection, request)
            connection.settimeout(None)
            say(answer)
            splice(connection, more)
    except LauncherError as error:
        left = read_json(Path(where) / LEFT) if error.code == _GONE and not facts else None
        if left is None:
            return failed({"error": error.code, "detail": error.detail})
        say({"ready": True})
        _serve_what_is_left(Lasting.of(left))
    return 0


def _connected(where: str) -> socket.socket:
    stub = _STUB.fullmatch(where)
    try:
        connection = _stub(int(stub[1]), stub[2]) if stub is not None else connect(Path(where), NAME)
    except (ConnectionRefusedError, FileNotFoundError, PermissionError) as error:
        raise LauncherError(_GONE, f"nobody holds the terminal of {where}: {error.strerror}") from error
    except OSError as error:  # its queue is full, as it is stopped; or this node has no descriptor or memory left
        raise LauncherError("NO_ANSWER", f"{where} does not answer: {error}") from error
    connection.settimeout(_ANSWER_S)
    return connection


def _stub(uid: int, name: str) -> socket.socket:
    """By an address that anybody may take: it has to be an account's own. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(_ANSWER_S)
        connection.connect(address_of(uid, name))
    except OSError:
        connection.close()
        raise
    if peer_uid(connection) == uid:
        return connection
    connection.close()
    raise PermissionError(errno.EPERM, "somebody else listens there")


def _ask(connection: socket.socket, request: Document) -> tuple[Document, bytes]:
    """The answer, and what it said behind that. Raises LauncherError: what it says, or NO_ANSWER."""
    answer = b""
    try:
        connection.sendall(encode(request))
        while b"\n" not in answer and len(answer) <= LIMIT_BYTES:
            data = connection.recv(_CHUNK)
            answer += data or b"\n"
    except OSError as error:
        raise LauncherError("NO_ANSWER", f"whoever holds the terminal does not answer: {error}") from error
    line, ended, more = answer.partition(b"\n")
    if not line or not ended:
        raise LauncherError("NO_ANSWER", "whoever holds the terminal says nothing, or too much")
    document = decode(line)
    if "error" in document:
        raise LauncherError(str(document["error"]), str(document.get("detail", "")))
    return document, more


def _serve_what_is_left(lasting: Lasting) -> None:
    """The launcher has ended: until everything was heard, or nobody listens."""
    outgoing = lasting.greeting()
    poll = select.poll()
    poll.register(0, select.POLLIN)
    try:
        while True:
            while outgoing:
                outgoing = outgoing[os.write(1, outgoing) :] or lasting.unsaid()
            poll.poll()
            data = os.read(0, _CHUNK)
            lasting.hear(data)
            if not data or lasting.silent:
                return
            outgoing = lasting.unsaid()
    except (OSError, ValueError):
        return
