"""The user's own terminal: raw while his keys are the job's, and as he had it at any other time.

termios(3), "Raw mode"; ioctl_tty(2). Whatever ends the stub, short of SIGKILL, restores it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import tty
from types import TracebackType
from typing import Self

from offloader.launcher.terminal.typed import size_of

from .endpoint import Size

__all__ = ["UserTerminal"]


class UserTerminal:
    """Opened anew, so that what is set on it (not to block, say) is nobody else's."""

    def __init__(self, descriptor: int) -> None:
        """Args: descriptor: a terminal, as standard input is one. Raises OSError."""
        self.descriptor = os.open(os.ttyname(descriptor), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self.attributes = termios.tcgetattr(self.descriptor)
        self._raw = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()
        os.close(self.descriptor)

    @property
    def size(self) -> Size:
        """Now; 24 by 80 where it is gone."""
        with contextlib.suppress(OSError):
            return size_of(self.descriptor)
        return Size(24, 80)

    @property
    def ours(self) -> bool:
        """Whether we are in its foreground: else neither its keys nor its modes are ours (SIGTTIN, SIGTTOU)."""
        try:
            return os.tcgetpgrp(self.descriptor) == os.getpgrp()
        except OSError:
            return False

    def make_raw(self) -> None:
        """Every key is the job's from here on, Ctrl-C and Ctrl-Z too: the job's own terminal makes signals of them."""
        if self._raw or not self.ours:
            return
        self.attributes = termios.tcgetattr(self.descriptor)
        with contextlib.suppress(termios.error):
            tty.setraw(self.descriptor, termios.TCSADRAIN)
            self._raw = True

    def restore(self) -> None:
        """As it was when it was made raw. Also from the background: a shell that took it back sets it anyway."""
        if not self._raw:
            return
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self.attributes)
        signal.signal(signal.SIGTTOU, before)
        self._raw = False
