"""A job of `run --local` wherever it is: on its own terminal here, and after a move on one elsewhere.

Implements Endpoint, and answers whoever moves it (launcher/terminal/door.py):

| request | |
| --- | --- |
| `look` | which job, on which terminal |
| `yield` | the job is held still and about to be copied: what its user typed and it has not read |
| `tie` | it goes on elsewhere; this connection leads to its terminal there |
| `over` | it has come to an end that its terminal did not tell |
| `stays` | that move has come to nothing |

From `yield` on keys and signals wait here. When the job runs on (its guard has let it go) they go to it as before; when
it was killed, whoever moves it says what became of it, and until then it has not ended.
"""

from __future__ import annotations

import base64
import selectors
import signal
import socket
import time

from offloader.launcher.errors import LauncherError
from offloader.launcher.lease import boottime
from offloader.launcher.terminal import typed
from offloader.launcher.terminal.door import TIE, Door, address_of
from offloader.launcher.terminal.frost import Frost, holds
from offloader.launcher.terminal.lasting import Lasting
from offloader.launcher.terminal.screen import device_of
from offloader.launcher.wire import Document

from .away import Away, line
from .endpoint import Ended, Size, State, Stopped
from .local_pty import LocalPty

__all__ = ["Roaming"]

_PATIENCE_S = 10.0
_FULL_S = 0.05  # the job's input queue is full


class Roaming:
    """Starts with a job on this machine."""

    def __init__(self, here: LocalPty, name: str, size: Size, uid: int) -> None:
        """Take it over.

        Args:
            here: the job.
            name: as what it is known (GRID_OFFLOAD_RUN). Where nobody can listen by that name, it stays here.
            size: of its terminal.
            uid: whose it is.
        """
        self._here: LocalPty | None = here
        self._away: Away | None = None
        self._selector = selectors.EpollSelector()
        for number in here.filenos():
            self._selector.register(number, selectors.EVENT_READ)
        self._door = self._listen(uid, name)
        self._size = size
        self._output = b""
        self._keys = b""  # that come before all others
        self._signals: list[int] = []
        self._frost: Frost | None = None
        self._killed_at: float | None = None
        self._told = False
        self._over: Ended | None = None
        self._job, self._epoch = "", 0

    def filenos(self) -> tuple[int, ...]:
        """See Endpoint: an epoll(7) stands for everything."""
        return (self._selector.fileno(),)

    @property
    def patience_s(self) -> float | None:
        """See Endpoint."""
        if self._away is not None:
            return self._away.patience_s
        if self._killed_at is not None:
            return None if self._told else max(0.0, self._killed_at + _PATIENCE_S - time.monotonic())
        if self._frost is not None:
            return max(0.0, self._frost.due - boottime())
        return _FULL_S if self._keys else None

    def read(self) -> bytes:
        """See Endpoint."""
        for key, mask in self._selector.select(0):
            if isinstance(key.data, Door):
                key.data.serve(key.fileobj)
            elif isinstance(key.data, Away):
                key.data.serve(key.fileobj, mask)
        self._look()
        data, self._output = self._output, b""
        present = self._away or self._here
        return data + (present.read() if present is not None else b"")

    def write(self, data: bytes) -> int:
        """See Endpoint."""
        if self._away is not None:
            return self._away.write(data)
        if self._here is None or self._frost is not None or not self._first_keys(self._here):
            return 0
        return self._here.write(data)

    def resize(self, size: Size) -> None:
        """See Endpoint."""
        self._size = size
        if self._away is not None:
            self._away.resize(size)
        elif self._here is not None and self._frost is None:
            self._here.resize(size)

    def signal(self, number: int) -> None:
        """See Endpoint. One of which nobody says what became of it is given up by KILL."""
        if self._away is not None:
            self._away.signal(number)
        elif self._frost is not None:
            self._signals.append(number)
            if number == signal.SIGKILL and self._told:
                self._over = Ended(signal=number)
        elif self._here is not None:
            self._here.signal(number)

    def state(self) -> State:
        """See Endpoint."""
        if self._over is not None:
            return self._over
        if self._away is not None:
            return self._away.state()
        state = self._here.state() if self._here is not None else None
        if self._frost is not None and state == Ended(signal=signal.SIGKILL):
            if self._killed_at is None:
                self._killed_at = time.monotonic()
            return None
        return state

    def close(self) -> None:
        """See Endpoint."""
        for one in (self._away, self._here, self._door):
            if one is not None:
                one.close()
        self._selector.close()

    # --- here -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Whether the job that was to be moved runs on here, or nobody says where it is."""
        if self._here is None:
            return
        if self._frost is None:
            self._first_keys(self._here)
        elif self._killed_at is not None:
            if not self._told and time.monotonic() >= self._killed_at + _PATIENCE_S:
                self._told = True
                self._output += line("it was moved, and nobody says where it is now")
        elif self._frost.over(boottime()):
            self._frost = None
            self._here.resize(self._size)
            self._first_keys(self._here)
            signals, self._signals = self._signals, []
            for number in signals:
                self._here.signal(number)

    def _first_keys(self, here: LocalPty) -> bool:
        """Whether those that come before all others are where they belong."""
        while self._keys and (taken := here.write(self._keys)):
            self._keys = self._keys[taken:]
        return not self._keys

    # --- whoever moves it -------------------------------------------------------------------------------------------

    def _listen(self, uid: int, name: str) -> Door | None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.bind(address_of(uid, name))
            listener.listen()
        except OSError:
            listener.close()
            return None
        return Door(listener, self._selector, self._answer, self._tied)

    def _answer(self, request: Document) -> Document:
        match request.get("do"):
            case "look":
                return self._looked()
            case "yield":
                return self._yield(str(request.get("move")))
            case "over":
                return self._end(request)
            case "stays":
                return self._stay(str(request.get("move")))
            case one if one == TIE:
                return self._may_be_tied(request)
            case other:
                raise LauncherError("BAD_MESSAGE", f"unknown: {other!r}")

    def _looked(self) -> Document:
        if self._here is None:
            return {"pid": 0, "device": "", "stopped": False, "job": self._job, "epoch": self._epoch}
        stopped = isinstance(self._here.state(), Stopped)
        return {"pid": self._here.pid, "device": device_of(self._here.device), "stopped": stopped}

    def _yield(self, move: str) -> Document:
        if self._here is None:
            raise LauncherError("NOT_HERE", "it is on another node")
        if isinstance(self._here.state(), Stopped):
            raise LauncherError("STOPPED", "it is stopped: continue it first")
        if not holds(self._here.pid, move):
            raise LauncherError("NOT_FROZEN", f"it is not held by {move}")
        try:
            found, keys, output = self._here.copy()
        except OSError as error:
            raise LauncherError("TERMINAL", f"what was typed cannot be taken along: {error}") from error
        self._output += output
        self._keys = keys + self._keys
        self._frost = Frost(self._here.pid, move, boottime())
        state = {"lasting": Lasting().document(), "typed": typed.save(found)}
        return {**state, "keys": base64.b64encode(self._keys).decode("ascii")}

    def _may_be_tied(self, request: Document) -> Document:
        self.state()
        if self._here is not None and self._killed_at is None:
            raise LauncherError("NOT_YET", "it is here")
        if int(request["epoch"]) < self._epoch or self._job not in ("", request["job"]):
            raise LauncherError("OLD_EPOCH", f"it is attempt {self._epoch} of {self._job}")
        return {"ready": True}

    def _tied(self, connection: socket.socket, request: Document) -> None:
        away = self._away or self._left()
        epoch, node = int(request["epoch"]), str(request["node"])
        if epoch > self._epoch:
            self._job, self._epoch = str(request["job"]), epoch
            away.goes_on_at(node)
            away.resize(self._size)
        away.tied(connection)

    def _left(self) -> Away:
        """It is over here: what it wrote last, then what it is given elsewhere."""
        self._away = Away(self._selector)
        if self._here is not None:
            for number in self._here.filenos():
                self._selector.unregister(number)
            while data := self._here.read():
                self._output += data
            self._here.close()
            self._here = self._frost = None
        for number in self._signals:
            self._away.signal(number)
        return self._away

    def _stay(self, move: str) -> Document:
        """What runs on is seen anyhow. One that was killed meanwhile has ended, here."""
        self.state()
        if self._frost is not None and self._frost.move == move and self._killed_at is not None:
            self._over = Ended(signal=signal.SIGKILL)
        return {"stays": True}

    def _end(self, request: Document) -> Document:
        self.state()
        if self._here is not None and self._killed_at is None:
            raise LauncherError("NOT_YET", "it is here, and runs")
        if words := request.get("words"):
            self._output += line(str(words))
        code, number = request.get("exit_code"), request.get("signal")
        self._over = Ended(exit_code=int(code)) if code is not None else Ended(signal=int(number or signal.SIGKILL))
        return {"over": True}
