"""Stopping a move in a state, from outside the controller: the other end of serve.py."""

import os
from pathlib import Path

from _testbed import controller
from _testbed.settings import Settings

__all__ = ["Stages"]


class Stages:
    """Which moves are to stop where. Moves are named by their process, whose id is known before the move's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def inside(self) -> Path:
        """The directory as the controller sees it: its account's own."""
        return controller.inside(self._settings) / "faults"

    @property
    def _outside(self) -> Path:
        return controller.outside(self._settings, self._settings.head) / "faults"

    def create(self) -> None:
        """Make the directories, empty."""
        owner = self._outside.parent.stat().st_uid
        for directory in (self._outside, self._outside / "hold", self._outside / "at"):
            directory.mkdir(exist_ok=True)
            os.chown(directory, owner, owner)
        self.release_all()

    def hold(self, pid: int, state: str) -> None:
        """The move of this process is to stop in that state; asked before it starts."""
        self._at(pid).unlink(missing_ok=True)
        partial = self._hold(pid).with_suffix(".partial")
        partial.write_text(state, encoding="ascii")
        partial.rename(self._hold(pid))

    def stands(self, pid: int) -> bool:
        """Whether its move stands where it is to stop."""
        return self._at(pid).exists()

    def release_all(self) -> None:
        """All go on."""
        for file in (self._outside / "hold").iterdir():
            file.unlink(missing_ok=True)

    def _hold(self, pid: int) -> Path:
        return self._outside / "hold" / str(pid)

    def _at(self, pid: int) -> Path:
        return self._outside / "at" / str(pid)
