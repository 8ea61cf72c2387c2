"""`link DIR`: the streams of an SSH channel bridged to the role's socket, byte for byte, until either side ends."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

from .errors import LauncherError
from .socket_path import connect

__all__ = ["main"]

_CHUNK = 1 << 16


def main(arguments: list[str]) -> None:
    """The verb. Raises LauncherError (NOT_RUNNING)."""
    if len(arguments) != 1:
        raise LauncherError("USAGE", "link DIR")
    try:
        peer = connect(Path(arguments[0]))
    except (OSError, LauncherError) as error:
        raise LauncherError("NOT_RUNNING", f"nothing listens in {arguments[0]}") from error
    with peer:
        _bridge(peer)


def _bridge(peer: socket.socket) -> None:
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(peer, select.POLLIN)
    try:
        while True:
            for descriptor, _ in poll.poll():
                data = os.read(descriptor, _CHUNK)
                if not data:
                    return
                if descriptor == 0:
                    peer.sendall(data)
                else:
                    _write_all(data)
    except (BrokenPipeError, ConnectionResetError):
        return


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
