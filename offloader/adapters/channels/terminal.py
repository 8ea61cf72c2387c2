"""The terminal that a job was started from, as write(1) would use it: the user's own, unless he said `mesg n`."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from offloader.notify.message import Message
from offloader.notify.words import lines

__all__ = ["TerminalChannel", "device_of", "harmless", "tell"]

_PTS_MAJOR = 136  # UNIX98_PTY_SLAVE_MAJOR, include/uapi/linux/major.h; newer kernels use only the first of the eight
_CONSOLE_MAJOR, _CONSOLES = 4, range(1, 64)  # tty1..tty63; serial lines follow, and may block for ever
_FLAGS = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_PREFIX = "grid-offloader: "


class TerminalChannel:
    """notify.post.Channel: writes once, without waiting; what a stopped terminal does not take is lost."""

    name = "terminal"
    limit_s = 5.0

    def __init__(self, devices: Path = Path("/dev")) -> None:
        self._devices = devices

    async def send(self, message: Message) -> bool:
        """False: it has none, it is somebody else's by now, or it takes no messages."""
        return await asyncio.to_thread(tell, self._devices, message.origin.tty, message.uid, lines(message))


def tell(devices: Path, tty: int, uid: int, text: tuple[str, ...]) -> bool:
    """Write to the terminal with this number (tty_nr of proc(5)) if it belongs to this user and takes messages.

    The device is checked once it is open. Never becomes our controlling terminal, never follows a link, never waits.
    """
    found = device_of(tty)
    if found is None:
        return False
    path, device = found
    try:
        terminal = os.open(devices / path, _FLAGS)
    except OSError:
        return False
    try:
        seen = os.fstat(terminal)
        ours = stat.S_ISCHR(seen.st_mode) and seen.st_rdev == device and seen.st_uid == uid
        if not ours or not seen.st_mode & stat.S_IWGRP:  # `mesg n` takes the group's right to write away
            return False
        shown = "".join(f"{_PREFIX}{harmless(line)}\r\n" for line in text)
        return os.write(terminal, f"\r\n{shown}".encode("ascii")) > 0
    except OSError:
        return False
    finally:
        os.close(terminal)


def device_of(tty: int) -> tuple[str, int] | None:
    """Path below /dev and device number of a pseudo terminal or a console; None: it is neither, or there is none."""
    major, minor = tty >> 8 & 0xFFF, (tty & 0xFF) | (tty >> 12 & 0xFFF00)  # new_encode_dev, include/linux/kdev_t.h
    if major == _PTS_MAJOR:
        return f"pts/{minor}", os.makedev(major, minor)
    if major == _CONSOLE_MAJOR and minor in _CONSOLES:
        return f"tty{minor}", os.makedev(major, minor)
    return None


def harmless(text: str) -> str:
    r"""Printable ASCII only: what a terminal does with other bytes depends on a character set that we do not know."""
    shown = (one if one.isascii() and one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return "".join(shown)
