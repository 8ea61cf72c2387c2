"""The memory of a dump on its way between two nodes: `pages DIR` at the source, `receive DIR …` at the target.

Raw bytes on stdin and stdout, criu's own conversation between dump and page server; the controller only ties the two
ends together. Both are started before the freeze, and wait. What they have to say goes to stderr, in lines of JSON.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from pathlib import Path

from ..errors import LauncherError
from ..lease import boottime
from ..socket_path import connect
from ..wire import Document, encode
from . import image
from .arguments import Pages
from .copying import PAGES

__all__ = ["main_pages", "main_receive"]

_CHUNK = 1 << 20


def main_pages(arguments: list[str]) -> int:
    """The verb at the source; DIR is the guard's."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "pages DIR")
    try:
        peer = connect(Path(arguments[0]), PAGES)
    except OSError as error:
        return _said({"error": "NOT_RUNNING", "detail": f"no guard waits in {arguments[0]}: {error.strerror}"})
    with peer:
        _say({"ready": True})
        _tie(peer)
    return 0


def main_receive(arguments: list[str]) -> int:
    """The verb at the target: `receive DIR CRIU SECONDS`; DIR is the attempt's. Says how much has arrived."""
    if len(arguments) != 3:  # noqa: PLR2004 (as above)
        raise LauncherError("USAGE", "receive DIR CRIU SECONDS")
    images, deadline = Path(arguments[0]) / image.NAME, boottime() + float(arguments[2])
    if not images.is_dir():
        return _said({"error": "NOT_RUNNING", "detail": f"no launcher waits for an image in {arguments[0]}"})
    ours, theirs = socket.socketpair()
    with ours:
        try:
            with theirs:
                server = image.PageServer(arguments[1], images, Pages(socket=theirs.fileno()))
        except OSError as error:
            return _said({"error": "DUMP_FAILED", "detail": f"{arguments[1]} cannot be started: {error.strerror}"})
        _say({"ready": True})
        _tie(ours)
    try:
        server.wait(max(0.0, deadline - boottime()))
    except LauncherError as error:
        return _said({"error": error.code, "detail": error.detail})
    _say({"pages_bytes": image.sizes(images).pages})
    return 0


def _tie(peer: socket.socket) -> None:
    """What `peer` says to stdout, stdin to `peer`, until `peer` has ended."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(peer, select.POLLIN)
    try:
        while True:
            for descriptor, _ in poll.poll():
                data = os.read(descriptor, _CHUNK)
                if descriptor != 0:
                    if not data:
                        return
                    _write_all(1, data)
                elif data:
                    _write_all(peer.fileno(), data)
                else:
                    poll.unregister(0)
                    peer.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        return


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _say(document: Document) -> None:
    sys.stderr.buffer.write(encode(document))
    sys.stderr.buffer.flush()


def _said(document: Document) -> int:
    """Of a failure; the exit status."""
    _say(document)
    return 1
