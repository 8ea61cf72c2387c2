"""A job that lost its terminal: it goes on, what it writes is kept, and its user may come back (`attach`).

One directory per job, his own (0700): `sock`, `output` (bounded), and after the end `exit`. One watcher at a time: a
new one takes over from an old one, whose connection may be dead without having said so.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
from pathlib import Path

from offloader.launcher import socket_path
from offloader.launcher.wakeup import Wakeup

from .endpoint import Ended, Endpoint, Size, State, Stopped
from .frames import Frames, frame, words_of
from .spool import LIMIT_BYTES, Spool

__all__ = ["EXIT", "OUTPUT", "Unwatched", "keep_no_terminal"]

OUTPUT, EXIT = "output", "exit"
_CHUNK = 1 << 16
_SEND_S = 10.0
_QUEUE_BYTES = 1 << 16
_FULL_S = 0.01  # the job's input queue is full
_HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGWINCH,
)


class Unwatched:
    """Takes over from the loop that had the terminal."""

    def __init__(self, endpoint: Endpoint, directory: Path, *, unshown: bytes = b"", limit: int = LIMIT_BYTES) -> None:
        """Take over.

        Args:
            endpoint: the job.
            directory: made if it is not there.
            unshown: output that the lost terminal did not take.
            limit: of the output that is kept, bytes.

        Raises:
            OSError: the directory cannot be used.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._endpoint = endpoint
        self._directory = directory
        self._spool = Spool(directory / OUTPUT, limit)
        self._spool.append(unshown)
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup(self._selector, _HANDLED)
        self._listener = socket_path.listen(directory)
        self._watcher: socket.socket | None = None
        self._frames = Frames()
        self._keys = b""
        self._told: State = None

    def run(self) -> Ended:
        """Until the job is over."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        for number in self._endpoint.filenos():
            self._selector.register(number, selectors.EVENT_READ)
        try:
            while True:
                patience_s = self._endpoint.patience_s
                waits = (1.0, _FULL_S if self._keys else 1.0, 1.0 if patience_s is None else patience_s)
                ready = [key.fileobj for key, _ in self._selector.select(min(waits))]
                if self._listener in ready:
                    self._admit()
                if self._watcher is not None and self._watcher in ready:
                    self._hear(self._watcher)
                self._pass_keys()
                self._obey(self._wakeup.drain())
                self._keep(self._endpoint.read())
                state = self._endpoint.state()
                self._tell(state)
                if isinstance(state, Ended):
                    return self._over(state)
        finally:
            self._wakeup.close()
            self._listener.close()
            self._selector.close()
            self._spool.close()

    def _admit(self) -> None:
        """By the directory's mode only its owner comes here."""
        self._drop()
        self._watcher, _ = self._listener.accept()
        self._watcher.settimeout(_SEND_S)
        self._selector.register(self._watcher, selectors.EVENT_READ)
        self._frames = Frames()
        kept = self._spool.content()
        for start in range(0, len(kept), _CHUNK):
            self._send(frame(b"o", kept[start : start + _CHUNK]))
        self._told = None

    def _hear(self, watcher: socket.socket) -> None:
        try:
            data = watcher.recv(_CHUNK)
            for kind, payload in self._frames.feed(data):
                self._do(kind, payload)
        except (OSError, ValueError, struct.error):
            data = b""
        if not data:
            self._drop()

    def _do(self, kind: bytes, payload: bytes) -> None:
        if kind == b"k":
            self._keys = (self._keys + payload)[:_QUEUE_BYTES]  # as a terminal does whose queue is full
        elif kind == b"r":
            self._endpoint.resize(Size(*struct.unpack("!2H", payload)))
        elif kind == b"s":
            self._endpoint.signal(signal.Signals(payload[0]))

    def _pass_keys(self) -> None:
        while self._keys and (taken := self._endpoint.write(self._keys)):
            self._keys = self._keys[taken:]

    def _keep(self, data: bytes) -> None:
        if data:
            self._spool.append(data)
            self._send(frame(b"o", data))

    def _tell(self, state: State) -> None:
        """A stop is told each time that a watcher comes, and its end."""
        if state == self._told or isinstance(state, Ended):
            return
        self._told = state
        self._send(frame(b"p", bytes([state.signal])) if isinstance(state, Stopped) else frame(b"c"))

    def _over(self, ended: Ended) -> Ended:
        while data := self._endpoint.read():
            self._keep(data)
        scratch = self._directory / f"{EXIT}.new"
        scratch.write_bytes(words_of(ended))
        scratch.rename(self._directory / EXIT)
        (self._directory / socket_path.NAME).unlink(missing_ok=True)
        self._send(frame(b"e", words_of(ended)))
        self._drop()
        return ended

    def _send(self, data: bytes) -> None:
        if self._watcher is not None:
            try:
                self._watcher.sendall(data)
            except OSError:  # gone, or asleep for ten seconds: the job does not wait for it
                self._drop()

    def _drop(self) -> None:
        if self._watcher is not None:
            self._selector.unregister(self._watcher)
            self._watcher.close()
            self._watcher = None

    def _obey(self, numbers: set[int]) -> None:
        """What still reaches us is for the job, but for another hang-up."""
        for number in numbers & {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}:
            self._endpoint.signal(number)
            self._endpoint.signal(signal.SIGCONT)


def keep_no_terminal() -> None:
    """Standard streams of a process whose terminal is gone lead nowhere, instead of failing."""
    empty = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(empty, number)
    os.close(empty)
