"""What the init of a restored job is to the job's terminal: the leader of its session.

A process group can be stopped by Ctrl-Z only if it has a parent in its session, outside of the group (setpgid(2);
POSIX, General Terminal Interface): that is the init, as the keeper of `run --local` is at the job's source. When a
session's leader ends, its terminal hangs up; so criu, which ends, may not be that leader.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import termios

from ..wire import Document

__all__ = ["Session"]

_IGNORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Session:
    """Of the init, with its terminal, or without any."""

    def __init__(self, terminal: int | None) -> None:
        self.terminal = terminal
        self._leader = 0
        self._stopped = False

    @classmethod
    def on(cls, terminal: int | None) -> Session:
        """Take that terminal, which has no session yet. Raises OSError."""
        made = cls(terminal)
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            for number in _IGNORED:
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, lambda _number, _frame: made._hang_up())
        return made

    @property
    def watched(self) -> int:
        """Flags for waitpid(2): whether stops of the job are for us to tell."""
        return 0 if self.terminal is None else os.WUNTRACED | os.WCONTINUED

    def let_have(self, leader: int, foreground: object) -> None:
        """The job is there: the terminal is its again, in the foreground the group that was, or its leader's."""
        self._leader = leader
        for group in (foreground, os.getpgid(leader)):
            if self.terminal is not None and isinstance(group, int):
                with contextlib.suppress(OSError):  # there is no such group any more
                    os.tcsetpgrp(self.terminal, group)
                    return

    def signal(self, number: int) -> None:
        """To the job's process group, as long as its leader was not reaped."""
        if self._leader:
            with contextlib.suppress(OSError):
                os.killpg(os.getpgid(self._leader), number)

    def news(self, status: int) -> Document | None:
        """Of its leader, which waitpid(2) says is stopped, or goes on: what is to be told."""
        was, self._stopped = self._stopped, os.WIFSTOPPED(status)
        if self._stopped:
            return {"event": "stopped", "signal": os.WSTOPSIG(status)}
        return {"event": "goes_on"} if was else None  # else it was what continued it after its restore

    def ended(self) -> None:
        """The leader's pid may be somebody else's from now on."""
        self._leader = 0

    def _hang_up(self) -> None:
        """The terminal's other side is gone."""
        self.signal(signal.SIGHUP)
        self.signal(signal.SIGCONT)
