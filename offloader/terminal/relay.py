"""The loop between the user's terminal and a job's: keys, output, window size, job control, signals, and the end.

As on a terminal without us: Ctrl-Z stops the job, then the whole group that the user's shell started, so that the shell
has its prompt back; `fg` goes on; in the background output goes on and keys are left alone. When the terminal is lost
(SIGHUP, or its end) the job goes on, and what it writes is kept for `attach`.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
from collections.abc import Callable

from offloader.launcher.wakeup import Wakeup

from .endpoint import Ended, Endpoint, Stopped
from .raw import UserTerminal

__all__ = ["Relay"]

_CHUNK = 1 << 16
_QUEUE_BYTES = 1 << 16
_LOOK_S = 0.2
_FULL_S = 0.01  # the job's input queue is full
_JOB_CONTROL = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_HANDLED = (
    signal.SIGWINCH,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTSTP,
    signal.SIGCONT,
)


class Relay:
    """One job, watched from one terminal, as long as that is there."""

    def __init__(self, endpoint: Endpoint, terminal: UserTerminal, when_lost: Callable[[bytes], Ended]) -> None:
        """Args: when_lost: goes on with the job once the terminal is gone, to its end; given what was not shown."""
        self._endpoint = endpoint
        self._terminal = terminal
        self._when_lost = when_lost
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup(self._selector, _HANDLED)
        self._keys = b""
        self._unshown = b""
        self._ours = False
        self._listening = False
        self._lost = False
        self._asked = False

    def run(self) -> Ended:
        """Until the job is over."""
        try:
            for number in self._endpoint.filenos():
                self._selector.register(number, selectors.EVENT_READ)
            self._foreground()
            ended = self._follow_state()  # it may have come to its end before anybody listened
            while ended is None and not self._lost:
                ended = self._round()
            if ended is not None:
                return ended
        finally:
            self._terminal.restore()
            self._wakeup.close()
            self._selector.close()
        return self._when_lost(self._unshown)

    def _round(self) -> Ended | None:
        # A shell that puts us in the foreground while we run does not tell: bash sends SIGCONT only to what is stopped.
        waits = [_FULL_S if self._keys else None, None if self._listening else _LOOK_S, self._endpoint.patience_s]
        ready = self._selector.select(min((wait for wait in waits if wait is not None), default=None))
        for key, _ in ready:
            if key.fileobj == self._terminal.descriptor:
                self._read_keys()
        self._obey(self._wakeup.drain())
        self._foreground()
        self._pass_keys()
        self._show(self._endpoint.read())
        return self._follow_state()

    # --- the job ------------------------------------------------------------------------------------------------

    def _follow_state(self) -> Ended | None:
        state = self._endpoint.state()
        if isinstance(state, Ended):
            while data := self._endpoint.read():
                self._show(data)
            return state
        if isinstance(state, Stopped) and state.signal in _JOB_CONTROL and not self._lost:
            self._stop()
        return None

    def _stop(self) -> None:
        """Together with all that the user's shell started with us; goes on when that does.

        Where no shell could continue us (our group is orphaned) the kernel throws the signal away, and the job, too,
        goes on at once: as if Ctrl-Z had not been pressed, which is what it does there without us. Whoever stops a job
        by SIGSTOP will continue it himself: that is not for the terminal.
        """
        while data := self._endpoint.read():
            self._show(data)
        self._quiet()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.killpg(0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._go_on()

    def _go_on(self) -> None:
        self._foreground()
        self._endpoint.resize(self._terminal.size)
        self._endpoint.signal(signal.SIGCONT)

    # --- the user -----------------------------------------------------------------------------------------------

    def _foreground(self) -> None:
        """Take the terminal's keys where they are ours, leave them where they are not."""
        ours = not self._lost and self._terminal.ours
        if ours and not self._ours:
            self._terminal.make_raw()
            self._endpoint.resize(self._terminal.size)
        elif self._ours and not ours:
            self._terminal.restore()
        self._ours = ours
        self._listen(ours and len(self._keys) < _QUEUE_BYTES)

    def _quiet(self) -> None:
        self._listen(False)
        self._ours = False
        self._terminal.restore()

    def _listen(self, wanted: bool) -> None:
        if wanted and not self._listening:
            self._selector.register(self._terminal.descriptor, selectors.EVENT_READ)
        elif self._listening and not wanted:
            self._selector.unregister(self._terminal.descriptor)
        self._listening = wanted

    def _read_keys(self) -> None:
        if not self._terminal.ours:
            return
        try:
            data = os.read(self._terminal.descriptor, _CHUNK)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            data = b""
        if data:
            self._keys += data
        else:
            self._lose()

    def _pass_keys(self) -> None:
        while self._keys and (taken := self._endpoint.write(self._keys)):
            self._keys = self._keys[taken:]

    def _show(self, data: bytes) -> None:
        while data and not self._lost:
            try:
                data = data[os.write(self._terminal.descriptor, data) :]
            except OSError:
                self._lose()
        self._unshown += data

    def _lose(self) -> None:
        self._quiet()
        self._lost = True

    def _obey(self, numbers: set[int]) -> None:
        if signal.SIGHUP in numbers:
            self._lose()
        if signal.SIGWINCH in numbers:
            self._endpoint.resize(self._terminal.size)
        if signal.SIGCONT in numbers:
            self._go_on()
        for number in numbers & {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP}:
            self._endpoint.signal(signal.SIGKILL if number == signal.SIGTERM and self._asked else number)
            if number == signal.SIGTERM:
                self._endpoint.signal(signal.SIGCONT)  # a stopped job has not heard it yet
                self._asked = True
