"""A job on this machine, on a pseudoterminal of its own: pty(7). Its other side is held here."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import termios
from collections.abc import Mapping, Sequence
from typing import Any

from offloader.launcher.terminal import typed

from .endpoint import Ended, Size, State, Stopped
from .keeper import keep

__all__ = ["RUN_MARK", "LocalPty", "NotStarted"]

_CHUNK = 1 << 16
RUN_MARK = b"GRID_OFFLOAD_RUN"


class NotStarted(Exception):
    """The command could not be executed; `number` is the errno of execve(2)."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        super().__init__(f"{name}: {os.strerror(number)}")


class LocalPty:
    """Implements Endpoint."""

    def __init__(
        self,
        argv: Sequence[bytes],
        environ: Mapping[bytes, bytes],
        *,
        name: str,
        size: Size,
        attributes: list[Any] | None = None,
        passed: Mapping[int, int] | None = None,
    ) -> None:
        """Start the job.

        Args:
            argv: the command.
            environ: its environment, to which GRID_OFFLOAD_RUN is added.
            name: what GRID_OFFLOAD_RUN says: that `run` started it, and as what it is known.
            size: of its terminal.
            attributes: of its terminal (termios(3)), as those of the one it was started from.
            passed: streams of the job (0, 1, 2) that are no terminal here and that it gets as they are.

        Raises:
            NotStarted: there is no such program, or it may not be executed.
        """
        self._state: State = None
        self._news = b""
        self.pid = 0
        self._master, slave = os.openpty()
        self.device = os.fstat(slave)
        if attributes is not None:
            termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.resize(size)
        self._report, report = os.pipe()
        release, self._release = os.pipe()
        streams = {**dict.fromkeys(range(3), slave), **(passed or {})}
        self._keeper = os.fork()
        if self._keeper == 0:
            marked = {**environ, RUN_MARK: os.fsencode(name)}
            keep(slave, argv, marked, streams=streams, report=report, release=release)
        for descriptor in (slave, report, release):
            os.close(descriptor)
        self._wait_for_start(os.fsdecode(argv[0]))
        os.set_blocking(self._report, False)
        os.set_blocking(self._master, False)

    def _wait_for_start(self, name: str) -> None:
        """Until its command is executed."""
        while not self.pid:
            data = os.read(self._report, _CHUNK)
            if not data:
                self.close()
                raise NotStarted(errno.ECHILD, name)
            self._take(data, name)

    def filenos(self) -> tuple[int, ...]:
        """The terminal, as long as it has anything to say, and the keeper's reports."""
        return tuple(one for one in (self._master, self._report) if one >= 0)

    @property
    def patience_s(self) -> float | None:
        """See Endpoint."""
        return None

    def copy(self) -> tuple[typed.Typed, bytes, bytes]:
        """See typed.copy. Nobody else may use the terminal meanwhile: the job is frozen. Raises OSError."""
        return typed.copy(self._master)

    def read(self) -> bytes:
        """See Endpoint. EIO is how a pseudoterminal says that nobody has its other side open: pty(7)."""
        if self._master < 0:
            return b""
        try:
            return os.read(self._master, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            return b""

    def write(self, data: bytes) -> int:
        """See Endpoint."""
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # nobody is there to read it

    def resize(self, size: Size) -> None:
        """See Endpoint: the kernel tells the foreground group."""
        typed.set_size(self._master, size)

    def signal(self, number: int) -> None:
        """See Endpoint. The keeper holds the job's pid as long as its end was not read here."""
        if not isinstance(self._state, Ended):
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.Signals(number))
        if number == signal.SIGCONT and isinstance(self._state, Stopped):
            self._state = None  # the keeper's word of it is on its way

    def state(self) -> State:
        """See Endpoint."""
        with contextlib.suppress(BlockingIOError):
            while self._report >= 0 and (data := os.read(self._report, _CHUNK)):
                self._take(data, "")
        return self._state

    def close(self) -> None:
        """See Endpoint. Calling it again is fine."""
        over = isinstance(self._state, Ended)
        for descriptor in (self._master, self._report, self._release):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._report = self._release = -1
        if self._keeper:  # a job that does not mind the hang-up keeps it for as long as it runs
            os.waitpid(self._keeper, 0 if over else os.WNOHANG)
            self._keeper = 0

    def _take(self, data: bytes, name: str) -> None:
        *lines, self._news = (self._news + data).split(b"\n")
        for line in lines:
            word, _, number = line.decode("ascii").partition(" ")
            if word == "pid":
                self.pid = int(number)
            elif word == "failed":
                self.close()
                raise NotStarted(int(number), name)
            elif word == "stopped":
                self._state = Stopped(int(number))
            elif word == "continued":
                self._state = None
            elif word == "exit":
                self._state = Ended(exit_code=int(number))
            elif word == "signal":
                self._state = Ended(signal=int(number))
