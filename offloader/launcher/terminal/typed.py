"""What was typed on a pseudoterminal and not read yet: the one part of its state that no program can look at.

The line discipline has worked on it already (n_tty of Linux; termios(3), Canonical mode), so it is not keys any more
but lines, ends of input, and the beginning of a line that may still be edited. It is taken out by reading the slave,
and put in again by typing it while nothing has a meaning and its echo shows that it has arrived. Both need that the job
neither reads nor writes: it is frozen, or has not begun.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import select
import struct
import termios
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..lease import boottime

__all__ = ["Size", "Typed", "copy", "give", "load", "save", "set_size", "size_of", "slave_of"]

Typed = list[tuple[str, bytes]]
"""Pieces in their order: `line` with its end, `end` of input (Ctrl-D), `begun`: no whole line yet, or of raw mode."""

_TIOCGPTPEER = 0x5441  # of x86 and arm64: include/uapi/asm-generic/ioctls.h; termios has no name for it before 3.13
_CHUNK = 1 << 16
_ARRIVES_S = 3.0
_PIECE_BYTES = 128  # so few that there are always bytes which are none of them
_FITS_BYTES = 3500  # of the 4096 of N_TTY_BUF_SIZE
_IUCLC, _IUTF8, _ECHOKE, _EXTPROC = 0o1000, 0o40000, 0o4000, 0o200000  # asm-generic/termbits.h
_MEANINGS_IN = (
    termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP | termios.IXON | termios.IXOFF | termios.INPCK
    | termios.PARMRK | termios.IGNBRK | termios.BRKINT | _IUCLC | _IUTF8
)  # fmt: skip
_MEANINGS_LOCAL = (
    termios.ISIG | termios.ECHONL | termios.ECHOE | termios.ECHOK | termios.ECHOCTL | termios.ECHOPRT
    | _ECHOKE | _EXTPROC
)  # fmt: skip
_BYTE_BY_BYTE: Mapping[int, bytes | int] = {termios.VMIN: 1, termios.VTIME: 0}
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6  # of what tcgetattr gives


class Size(NamedTuple):
    """Of a terminal, in characters (ioctl_tty(2), TIOCGWINSZ)."""

    rows: int
    columns: int


def size_of(terminal: int) -> Size:
    """Raises OSError."""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(terminal, termios.TIOCGWINSZ, b"\0" * 8))
    return Size(rows, columns)


def set_size(terminal: int, size: Size) -> None:
    """From either side; where it changes the kernel tells the foreground group. One that is gone does not mind."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", size.rows, size.columns, 0, 0))


@contextlib.contextmanager
def slave_of(master: int) -> Iterator[int]:
    """The other side, opened anew, without waiting and not as our own terminal (ioctl_tty(2), TIOCGPTPEER).

    Job control does not concern whoever has another terminal, or none. Raises OSError.
    """
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield slave
    finally:
        os.close(slave)


def save(typed: Typed) -> list[list[str]]:
    """For JSON."""
    return [[kind, base64.b64encode(data).decode("ascii")] for kind, data in typed]


def load(document: Any) -> Typed:
    """The inverse. Raises ValueError, TypeError."""
    found = [(str(kind), base64.b64decode(data, validate=True)) for kind, data in document]
    if not {kind for kind, _ in found} <= {"line", "end", "begun"}:
        raise ValueError("no piece of input")
    if sum(len(data) + 1 for _, data in found) > _FITS_BYTES + 1:
        raise ValueError("more than a terminal can hold")
    return found


def copy(master: int) -> tuple[Typed, bytes, bytes]:
    """What was typed, which stays where it is; keys that must come first from now on; output until now.

    Of much input not all fits in there again: the keys are the rest of it.

    Args: master: set not to wait. Raises OSError, TimeoutError.
    """
    with slave_of(master) as slave:
        end_of_input = termios.tcgetattr(slave)[_CC][termios.VEOF]
        typed, rest = _divided(_taken(slave))
        output = _read_all(master)  # after that: what was typed last may only then have been echoed
        output += _given(master, slave, typed)
    keys = (data + end_of_input if _ends_by_key(kind, data) else data for kind, data in rest)
    return typed, b"".join(keys), output


def give(master: int, typed: Typed) -> None:
    """Put it where it would be, had it been typed here; nothing of it is shown. Raises OSError, TimeoutError."""
    if typed:
        with slave_of(master) as slave:
            _given(master, slave, typed)


def _taken(slave: int) -> Typed:
    """A read that finds nothing has waited for the kernel to work on all that was written (n_tty_read)."""
    modes = termios.tcgetattr(slave)
    found: Typed = []
    if modes[_LFLAG] & termios.ICANON:
        while (line := _read(slave)) is not None:
            found.append(("line", line) if line else ("end", b""))
    raw = [*modes[:_LFLAG], modes[_LFLAG] & ~(termios.ICANON | termios.ECHO | termios.ISIG), *modes[_LFLAG + 1 : _CC]]
    try:
        termios.tcsetattr(slave, termios.TCSANOW, [*raw, _control_characters(modes, _BYTE_BY_BYTE)])
        begun = _read_all(slave)
    finally:
        termios.tcsetattr(slave, termios.TCSANOW, modes)
    return [*found, ("begun", begun)] if begun else found


def _divided(typed: Typed) -> tuple[Typed, Typed]:
    """What fits into the kernel's buffer, and the rest; of a piece that is cut, its end belongs to the rest."""
    room = _FITS_BYTES
    for number, (kind, data) in enumerate(typed):
        if len(data) >= room:
            cut = min(room, max(len(data) - 1, 0))
            begun = [("begun", data[:cut])] if cut else []
            return [*typed[:number], *begun], [(kind, data[cut:]), *typed[number + 1 :]]
        room -= len(data) + 1
    return typed, []


def _ends_by_key(kind: str, data: bytes) -> bool:
    """Whether it was an end of input that ended it."""
    return kind == "end" or (kind == "line" and not data.endswith(b"\n"))


def _given(master: int, slave: int, typed: Typed) -> bytes:
    """What others wrote there meanwhile."""
    modes, others = termios.tcgetattr(slave), b""
    try:
        for kind, data in typed:
            pieces = [data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES)] or [b""]
            for piece in pieces[:-1]:
                others += _give_piece(master, slave, modes, piece)
            others += _give_piece(master, slave, modes, pieces[-1], ends=_ends_by_key(kind, data))
    finally:
        termios.tcsetattr(slave, termios.TCSANOW, modes)
    return others


def _give_piece(master: int, slave: int, modes: list[Any], piece: bytes, *, ends: bool = False) -> bytes:
    """Type it, and wait for its echo. Returns what came besides that.

    Where input goes by lines a letter is typed behind it and erased, so that the end of input shows by an echo, too.
    """
    others = (bytes([one]) for one in range(1, 256) if one not in piece + b"x\n")
    end, erase = next(others), next(others)
    quiet = [
        modes[_IFLAG] & ~_MEANINGS_IN,
        modes[_OFLAG] & ~termios.OPOST,
        modes[_CFLAG],
        modes[_LFLAG] & ~_MEANINGS_LOCAL | termios.ECHO,
        *modes[_LFLAG + 1 : _CC],
    ]
    if modes[_LFLAG] & termios.ICANON:
        letters: Mapping[int, bytes | int] = {termios.VEOF: end, termios.VERASE: erase}
        written, echo = piece + (end if ends else b"") + b"x" + erase, piece + b"x" + erase
    else:
        letters = _BYTE_BY_BYTE
        written = echo = piece
    termios.tcsetattr(slave, termios.TCSANOW, [*quiet, _control_characters(modes, letters, keep=False)])
    os.write(master, written)
    return _besides(master, echo)


def _control_characters(modes: list[Any], wanted: Mapping[int, bytes | int], *, keep: bool = True) -> list[bytes | int]:
    """Those of `modes`, or with `keep` false none, but the wanted ones."""
    found: list[bytes | int] = list(modes[_CC]) if keep else [b"\0"] * len(modes[_CC])
    for index, value in wanted.items():
        found[index] = value
    return found


def _besides(master: int, echo: bytes) -> bytes:
    """What is read there until all of the echo was, less that: somebody may have sent a message to the terminal."""
    deadline, poll = boottime() + _ARRIVES_S, select.poll()
    poll.register(master, select.POLLIN)
    heard, others = 0, bytearray()
    while heard < len(echo):
        if boottime() >= deadline:
            raise TimeoutError("what was typed does not arrive")
        poll.poll(100)
        for one in _read(master) or b"":
            if heard < len(echo) and one == echo[heard]:
                heard += 1
            else:
                others.append(one)
    return bytes(others)


def _read(terminal: int) -> bytes | None:
    """None: nothing is there now."""
    try:
        return os.read(terminal, _CHUNK)
    except BlockingIOError:
        return None


def _read_all(terminal: int) -> bytes:
    found = b""
    while data := _read(terminal):
        found += data
    return found
