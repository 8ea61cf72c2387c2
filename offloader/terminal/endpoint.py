"""Where a job's terminal is: the seam between whoever watches a job and wherever it runs.

Nothing here waits: a loop over file descriptors asks when one of `filenos` is readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from offloader.launcher.terminal.typed import Size

__all__ = ["Ended", "Endpoint", "Size", "State", "Stopped"]


@dataclass(frozen=True)
class Stopped:
    """The job has stopped by that signal, as by Ctrl-Z."""

    signal: int


@dataclass(frozen=True)
class Ended:
    """The job is over; of the two the other one is None."""

    exit_code: int | None = None
    signal: int | None = None

    @property
    def status(self) -> int:
        """As shells count (POSIX, Shell Command Language, 2.8.2)."""
        return self.exit_code if self.exit_code is not None else 128 + (self.signal or 0)


State = Stopped | Ended | None
"""None: it runs."""


class Endpoint(Protocol):
    """One job's terminal. Methods never raise for a job that has ended meanwhile."""

    def filenos(self) -> tuple[int, ...]:
        """Readable as soon as there is output, or news of its state."""

    @property
    def patience_s(self) -> float | None:
        """After so long it is to be read from all the same; None: as long as nothing is readable."""

    def read(self) -> bytes:
        """Output that is there now, in portions; empty: none just now, or none ever again."""

    def write(self, data: bytes) -> int:
        """Give it input; returns how many bytes it took (0: its queue is full)."""

    def resize(self, size: Size) -> None:
        """Its terminal has that size from now on, and it is told (SIGWINCH)."""

    def signal(self, number: int) -> None:
        """Send it to the job's process group. From SIGCONT on it counts as running."""

    def state(self) -> State:
        """Whether it runs. Ended is only said once."""

    def close(self) -> None:
        """Let go of it: to the job that is a terminal that hangs up."""
