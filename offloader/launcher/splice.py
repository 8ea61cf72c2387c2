"""Verbs whose stdin and stdout are pipes of the controller's: it ties two of them together and reads none of the bytes.

What such a verb has to say goes to stderr, in lines of JSON.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys

from .wire import Document, encode

__all__ = ["CHUNK_BYTES", "failed", "say", "splice"]

CHUNK_BYTES = 1 << 20
"""Of a pipe, what an ordinary account may have (fs.pipe-max-size)."""


def splice(peer: socket.socket, said: bytes = b"") -> None:
    """What `peer` says to stdout, stdin to `peer`, until `peer` has ended. `said`: what it said before."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(peer, select.POLLIN)
    try:
        _write_all(1, said)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == 0:
                    if not _carry(peer):
                        poll.unregister(0)
                        peer.shutdown(socket.SHUT_WR)
                    continue
                data = os.read(descriptor, CHUNK_BYTES)
                if not data:
                    return
                _write_all(1, data)
    except (BrokenPipeError, ConnectionResetError):
        return


def _carry(peer: socket.socket) -> bool:
    """A piece of stdin to `peer`, past us where Python (3.10) and kernel (splice(2)) can; False: there is no more."""
    if hasattr(os, "splice"):
        try:
            return os.splice(0, peer.fileno(), CHUNK_BYTES) > 0
        except OSError as error:
            if error.errno != errno.EINVAL:  # stdin is no pipe
                raise
    data = os.read(0, CHUNK_BYTES)
    _write_all(peer.fileno(), data)
    return bool(data)


def say(document: Document) -> None:
    """To whoever started it."""
    sys.stderr.buffer.write(encode(document))
    sys.stderr.buffer.flush()


def failed(document: Document) -> int:
    """Say why; the exit status."""
    say(document)
    return 1


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
