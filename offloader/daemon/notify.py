"""Telling systemd that the controller is up (man 3 sd_notify); nothing happens without systemd."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

__all__ = ["sd_notify"]


def sd_notify(state: str) -> None:
    """Send `READY=1` and the like to $NOTIFY_SOCKET. An unreachable service manager is not our trouble."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        notifier.connect(address)
        notifier.sendall(state.encode())
