"""One attempt's state on the target: in memory, in state.json, and as the events that are said on the link."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from . import PROTOCOL, proc
from .capsule import Capsule
from .durable import write_json
from .states import HOLD, Machine
from .wire import Document

__all__ = ["AttemptRecord", "whose"]

_PROMISES = frozenset({"launched", "proven", "owned"})
_SAID = {
    "proven": ("how",),
    "exited": ("exit_code", "signal"),
    "aborted": ("detail",),
    "failed": ("reason", "detail"),
}


class AttemptRecord:
    """`facts` are what is known beyond the state; they are written with the next one that is entered."""

    def __init__(self, directory: Path, capsule: Capsule) -> None:
        self._directory = directory
        self._capsule = capsule
        self._machine = Machine(HOLD)
        self.facts: Document = {}

    @property
    def state(self) -> str:
        """Where it stands."""
        return self._machine.state

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self._machine.final

    def enter(self, state: str) -> bool:
        """Take a transition and write it down. False: the disk refused, and a state that promises is not entered.

        Ends are entered all the same: what is dead stays dead, whatever the disk says.
        """
        before = self._machine.state
        self._machine.enter(state)
        written = self._write("state.json", self._document())
        if not written and state in _PROMISES:
            self._machine.state = before
        if state == "exited":
            self._write("exit.json", {**self.facts_said(), "t": time.time()})
        return written

    def hello(self) -> Document:
        """What every new link hears first."""
        return {
            "event": "hello",
            "protocol": PROTOCOL,
            "state": self.state,
            "job": self._capsule.job,
            "epoch": self._capsule.epoch,
            "pid": os.getpid(),
        }

    def event(self) -> Document:
        """The present state as an event."""
        return {"event": self.state, **self.facts_said()}

    def facts_said(self) -> Document:
        """Those facts that belong to the present state's event."""
        if self.state == "launched":
            return dict(self.facts["child"])
        return {name: self.facts.get(name) for name in _SAID.get(self.state, ())}

    def _document(self) -> Document:
        return {
            "role": "hold",
            "protocol": PROTOCOL,
            "state": self.state,
            "job": self._capsule.job,
            "epoch": self._capsule.epoch,
            "move": self._capsule.move,
            "uid": self._capsule.image.uid,
            "boot_id": proc.boot_id(),
            **whose(os.getpid()),
            "t": time.time(),
            **self.facts,
        }

    def _write(self, name: str, document: Document) -> bool:
        try:
            write_json(self._directory / name, document)
        except OSError as error:
            sys.stderr.write(f"{name}: {error}\n")
            return False
        return True


def whose(pid: int) -> Document:
    """Pid, start time and executable: who it is. One that has ended already has no executable any more."""
    stat = proc.read_stat(pid)
    found: Document = {"pid": pid, "start_ticks": stat.start_ticks if stat is not None else 0}
    identity = proc.identity(pid)
    if identity is not None:
        found.update(exe_dev=identity["exe_dev"], exe_inode=identity["exe_inode"])
    return found
