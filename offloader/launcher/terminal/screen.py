"""A job's terminal at the node where it is restored: a pseudoterminal, kept by the launcher for whoever watches it.

Its other end is the stub of `run --local`, to which the verb `tie` leads from `DIR/terminal`. What the job writes waits
here until the stub has it; when too much waits, no more is read, and the job waits as at any terminal that is stopped.

| to the stub | | from it | |
| --- | --- | --- | --- |
| `o` | output | `k` | keys |
| `p` | it stopped, by that signal | `r` | size: rows, columns |
| `c` | it goes on | `s` | a signal to its process group |
| `e` | `exit N` or `signal N` | | |

While a move copies the job from here (`yield`) nothing is passed on: all of it goes with the job.
"""

from __future__ import annotations

import base64
import contextlib
import os
import selectors
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from ..durable import write_json
from ..errors import LauncherError
from ..lease import boottime
from ..socket_path import listen
from ..wire import Document, unpack_bytes
from . import typed
from .door import TIE, Door
from .frost import Frost, holds
from .lasting import Lasting
from .tie import Tie

__all__ = ["LEFT", "NAME", "Screen", "checked", "device_of"]

NAME = "terminal"
LEFT = "terminal.left"
"""What nobody had heard yet when the launcher ended: a document of `Lasting`."""

_CHUNK = 1 << 16
_KEYS_BYTES = 1 << 14
_SIZE = struct.Struct("!2H")


def checked(state: object) -> Document:
    """What is handed over with a job. Raises LauncherError (BAD_MESSAGE)."""
    found = state if isinstance(state, dict) else {}
    try:
        Lasting.of(found["lasting"])
        typed.load(found["typed"])
        unpack_bytes(found["keys"])
    except (KeyError, TypeError, ValueError) as error:
        raise LauncherError("BAD_MESSAGE", "go: image.terminal") from error
    return found


def device_of(found: os.stat_result) -> str:
    """Which terminal that is: its number, and that of the device that its file lies on."""
    return f"{found.st_rdev:x}:{found.st_dev:x}"


class Screen:
    """Belongs to a selector; its events have this object as their data, or its door."""

    def __init__(self, directory: Path, selector: selectors.BaseSelector, send: Callable[[int], None]) -> None:
        """Args: send: a signal, to the job's process group. Raises OSError."""
        self._directory = directory
        self._selector = selector
        self._send = send
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)
        self._device = device_of(os.fstat(self.slave))
        self._listener: socket.socket | None = listen(directory, NAME)
        self._door: Door | None = None
        self._lasting = Lasting()
        self._tie: Tie | None = None
        self._keys = b""
        self._frost: Frost | None = None
        self._stopped = self._over = False
        self._mask = self._leader = 0

    # --- the job --------------------------------------------------------------------------------------------------

    def passed_on(self) -> None:
        """Whoever leads its session has the slave: here it would keep the terminal's end from being seen."""
        os.close(self.slave)
        self.slave = -1

    def restored(self, leader: int, state: Document) -> None:
        """It is there, stopped: what its user had typed is, too. Raises OSError, TimeoutError."""
        self._leader = leader
        self._lasting = Lasting.of(state["lasting"])
        self._keys = unpack_bytes(state["keys"])
        typed.give(self.master, typed.load(state["typed"]))

    def open(self) -> None:
        """Its work is ours: from now on its terminal is."""
        if self._listener is not None:
            self._door = Door(self._listener, self._selector, self._answer, self._tied)
            self._listener = None
        self._settle()

    def stopped(self, number: int) -> None:
        """By a signal, as by Ctrl-Z. What it wrote before is told before, unless too much waits already."""
        while not self._lasting.full and self._read():
            pass
        self._stopped = True
        self._tell(b"p", bytes([number]))

    def goes_on(self) -> None:
        """It runs again."""
        self._stopped = False
        self._tell(b"c")

    def ended(self, code: int) -> None:
        """With that exit code, or negative by that signal. What nobody has heard yet is kept in a file.

        One that was killed while it was being copied goes on elsewhere: then nothing of this is to be told.
        """
        if self._frost is not None and code == -signal.SIGKILL:
            return
        while self._read():
            pass
        self._over = True
        self._tell(b"e", b"exit %d" % code if code >= 0 else b"signal %d" % -code)
        with contextlib.suppress(OSError):  # a full disk loses the end of the output, not the exit code
            write_json(self._directory / LEFT, self._lasting.document())

    def close(self) -> None:
        """The launcher ends. To a job that lives, the terminal hangs up."""
        if self._tie is not None:
            self._tie.last_words()
        if self._door is not None:
            self._door.close()
        elif self._listener is not None:
            self._listener.close()
        self._watch(0)
        self._hang_up()
        if self.slave >= 0:
            os.close(self.slave)

    # --- the loop -------------------------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When `tick` wants to be called (CLOCK_BOOTTIME)."""
        return self._frost.due if self._frost is not None else None

    def tick(self, now: float) -> None:
        """A job that was not moved after all has its terminal again."""
        if self._frost is not None and self._frost.over(now):
            self._frost = None
            self._settle()

    def serve(self, source: object, mask: int) -> None:
        """The terminal or its way is ready for something, or was before it was closed."""
        if mask & selectors.EVENT_READ and source == self.master:
            self._read()
        elif mask & selectors.EVENT_READ and self._tie is not None and self._tie.is_at(source):
            self._hear(self._tie)
        self._settle()

    def _settle(self) -> None:
        """Whatever is possible now is done, and what is not yet is waited for."""
        if self._frost is None and self._door is not None:
            self._type()
            reading = not self._lasting.full and not self._over
            self._watch((selectors.EVENT_READ if reading else 0) | (selectors.EVENT_WRITE if self._keys else 0))
        if self._tie is not None:
            self._tie.flush(listening=len(self._keys) < _KEYS_BYTES)
            if not self._tie.open:
                self._tie = None

    def _watch(self, mask: int) -> None:
        if mask and self._mask:
            self._selector.modify(self.master, mask, self)
        elif mask:
            self._selector.register(self.master, mask, self)
        elif self._mask:
            self._selector.unregister(self.master)
        self._mask = mask

    def _read(self) -> bool:
        """Whether there was something. EIO: nobody has its other side open any more (pty(7))."""
        try:
            data = os.read(self.master, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            self._over = True
            return False
        if data:
            self._lasting.say(b"o", data)
        return bool(data)

    def _type(self) -> None:
        try:
            while self._keys:
                self._keys = self._keys[os.write(self.master, self._keys) :]
        except BlockingIOError:
            pass
        except OSError:
            self._keys = b""  # nobody is there to read it

    # --- whoever watches it ---------------------------------------------------------------------------------------

    def _answer(self, request: Document) -> Document:
        do = request.get("do")
        if do == "look":
            return {"pid": self._leader, "device": self._device, "stopped": self._stopped}
        if do == "yield":
            return self._yield(str(request.get("move")))
        if do == "hang_up":
            self._hang_up()
            return {"hung_up": True}
        if do != TIE:
            raise LauncherError("BAD_MESSAGE", f"unknown: {do!r}")
        if self._frost is not None:
            raise LauncherError("YIELDED", "it is being moved")
        return {"ready": True}

    def _tied(self, connection: socket.socket, _request: Document) -> None:
        """The newest one counts; an older one may be dead without having said so."""
        if self._tie is not None:
            self._tie.close()
        self._tie = Tie(connection, self._lasting, self._selector, self)

    def _hear(self, tie: Tie) -> None:
        try:
            for kind, payload in tie.receive():
                if kind == b"k":
                    self._keys += payload
                elif kind == b"r":
                    typed.set_size(self.master, typed.Size(*_SIZE.unpack(payload)))
                elif kind == b"s":
                    self._send(signal.Signals(payload[0]))
        except (struct.error, IndexError, ValueError):
            tie.close()

    def _yield(self, move: str) -> Document:
        """All that whoever keeps it next has to know. Asked again it is the same."""
        if self._stopped:
            raise LauncherError("STOPPED", "it is stopped: continue it first")
        if self._over or not holds(self._leader, move):
            raise LauncherError("NOT_FROZEN", f"it is not held by {move}")
        try:
            found, keys, output = typed.copy(self.master)
        except OSError as error:
            raise LauncherError("TERMINAL", f"what was typed cannot be taken along: {error}") from error
        self._keys = keys + self._keys
        if output:
            self._lasting.say(b"o", output)
        self._frost = Frost(self._leader, move, boottime())
        self._watch(0)
        if self._tie is not None:
            self._tie.close()
            self._tie = None
        keys_left = base64.b64encode(self._keys).decode("ascii")
        return {"lasting": self._lasting.document(), "keys": keys_left, "typed": typed.save(found)}

    def _hang_up(self) -> None:
        """To the job it is what it is on any terminal: SIGHUP, by whoever leads its session."""
        if self.master >= 0:
            self._watch(0)
            os.close(self.master)
            self.master = -1
        self._over = True

    def _tell(self, kind: bytes, payload: bytes = b"") -> None:
        self._lasting.say(kind, payload)
        self._settle()
