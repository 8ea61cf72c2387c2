"""Unix sockets below directories of any length: sun_path holds 108 bytes (unix(7)), /proc/self/fd makes it short."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["NAME", "connect", "listen"]

NAME = "sock"


def listen(directory: Path, name: str = NAME) -> socket.socket:
    """Listen on DIR/name, 0600, in the place of a socket that a dead predecessor left. The caller holds DIR's lock."""
    (directory / name).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mask = os.umask(0o177)
    try:
        server.bind(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.umask(mask)
        os.close(descriptor)
    server.listen(8)
    return server


def connect(directory: Path, name: str = NAME) -> socket.socket:
    """Connect to it. Raises OSError when nothing listens."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        client.connect(f"/proc/self/fd/{descriptor}/{name}")
    except BaseException:
        client.close()
        raise
    finally:
        os.close(descriptor)
    return client
