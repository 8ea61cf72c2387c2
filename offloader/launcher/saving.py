"""Asking a job to save its state and end: the signal, the wait, and what its end then means.

The job is not frozen, it needs its time. What it says by its exit code is the field's custom (85 is what HTCondor,
among others, takes for "checkpointed, run me again"); a job that always ends with 0 says it by a fresh checkpoint file.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import NamedTuple

from . import exits, proc
from .errors import LauncherError
from .fileprint import Mark, mark
from .lease import boottime
from .members import Members
from .wire import Document, pack_bytes, unpack_bytes

__all__ = ["EXIT_SAVED", "GRACE_S", "Outcome", "Request", "Saving", "load"]

EXIT_SAVED = 85
GRACE_S = 60.0
_REST_S = 5.0
_LOOK_S = 0.1
_LONGEST_GRACE_S = 3600.0
_ENDED_BY_HAND = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})


@dataclass(frozen=True)
class Request:
    """`file` (absolute, may be None) is where the job keeps its checkpoint; `grace_s` how long it may take to save."""

    signal: int
    grace_s: float = GRACE_S
    file: bytes | None = None

    def document(self) -> Document:
        """As JSON; `load` reads it again."""
        return {
            "signal": self.signal,
            "grace_s": self.grace_s,
            "file": pack_bytes(self.file) if self.file is not None else None,
        }


def load(message: Document) -> Request:
    """Check a message. Raises LauncherError (BAD_MESSAGE), naming the field."""
    number, grace = message.get("signal"), message.get("grace_s", GRACE_S)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < signal.NSIG:
        raise LauncherError("BAD_MESSAGE", "signal: a number")
    if number in {signal.SIGKILL, signal.SIGSTOP}:
        raise LauncherError("BAD_MESSAGE", "signal: one that a process can handle")
    if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not 0 <= grace <= _LONGEST_GRACE_S:
        raise LauncherError("BAD_MESSAGE", f"grace_s: seconds, at most {_LONGEST_GRACE_S:g}")
    file = message.get("file")
    try:
        path = unpack_bytes(file) if file is not None else None
    except (TypeError, ValueError):
        raise LauncherError("BAD_MESSAGE", "file: base64") from None
    if path is not None and (not path.startswith(b"/") or b"\0" in path):
        raise LauncherError("BAD_MESSAGE", "file: an absolute path")
    return Request(number, float(grace), path)


class Outcome(NamedTuple):
    """What became of the job.

    `state` is the guard's: *saved* (it ended because it was asked to: it is to be run again) or *gone* (it ended
    otherwise). `how`: exit_85, file, unseen (its exit code is not to be had), failed (it ended without having saved).
    """

    state: str
    how: str
    status: int | None

    def document(self) -> Document:
        """For the event and the state file."""
        code = os.waitstatus_to_exitcode(self.status) if self.status is not None else None
        return {
            "how": self.how,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
        }


class Saving:
    """One job that is asked to save. Times are CLOCK_BOOTTIME seconds."""

    def __init__(self, members: Members, request: Request, before: Mark | None, asked: float) -> None:
        """Args: before: the checkpoint file as it was when the job was asked."""
        self.request = request
        self._members = members
        self._before = before
        self._asked = asked
        self._leader_ended: float | None = None
        self._sent = False
        self.told_late = False
        self.outcome: Outcome | None = None

    @classmethod
    def begin(cls, members: Members, request: Request) -> Saving:
        """Look at everything that has to be known before the signal; nothing is sent yet.

        Raises LauncherError (NO_CHECKPOINT): the signal would end the job instead of telling it something.
        """
        members.scan()
        if not any(_handles(one.pid, request.signal) for one in members.alive()):
            name = signal.Signals(request.signal).name
            raise LauncherError("NO_CHECKPOINT", f"none of its processes handles {name}")
        return cls(members, request, mark(request.file), boottime())

    @classmethod
    def remembered(cls, members: Members, memory: Document) -> Saving:
        """What a former guard had begun."""
        before, outcome = memory["before"], memory["outcome"]
        one = cls(members, load(memory), Mark(*before) if before is not None else None, float(memory["asked"]))
        one._sent = bool(memory["sent"])
        one.outcome = Outcome(*outcome) if outcome is not None else None
        return one

    def memory(self) -> Document:
        """What a later guard needs."""
        own = {"before": self._before, "asked": self._asked, "sent": self._sent, "outcome": self.outcome}
        return {**self.request.document(), **own}

    def ask(self) -> None:
        """Send the signal, once, to every process of the job that handles it: a second one is an order to hurry.

        Its value is the grace in whole seconds.
        """
        if self._sent:
            return
        for one in self._members.alive():
            if _handles(one.pid, self.request.signal):
                one.queue(self.request.signal, int(self.request.grace_s))
        self._sent = True

    @property
    def late(self) -> bool:
        """Whether the grace is over and the job still runs."""
        return self._leader_ended is None and boottime() >= self._asked + self.request.grace_s

    def next_look(self) -> float:
        """When to look again, at the latest."""
        if self._leader_ended is not None:
            return boottime() + _LOOK_S
        return float("inf") if self.told_late else self._asked + self.request.grace_s

    def look(self) -> Outcome | None:
        """What became of it, None while any of it runs; what its leader leaves behind is ended after a few seconds."""
        if self._members.leader_alive:
            return None
        if self._leader_ended is None:
            self._leader_ended = boottime()
        left = [*self._members.alive(), *self._members.scan()]
        if left:
            if boottime() >= self._leader_ended + _REST_S:
                for one in left:
                    one.signal(signal.SIGKILL)
            return None
        leader = self._members.leader
        self.outcome = self._judged(exits.wait_status(leader) if leader is not None else None)
        return self.outcome

    def told(self) -> Document:
        """How it ended, for the event; nothing while it is not known."""
        return self.outcome.document() if self.outcome is not None else {}

    def late_event(self) -> Document | None:
        """What is said once, when the grace is over and the job still runs: it may save and end later all the same."""
        if not self.late or self.told_late:
            return None
        self.told_late = True
        detail = f"it has not ended {self.request.grace_s:g} s after it was asked to save"
        return {"event": "failed", "do": "checkpoint", "reason": "NOT_SAVED", "detail": detail}

    def _judged(self, status: int | None) -> Outcome:
        fresh = self.request.file is not None and mark(self.request.file) not in {None, self._before}
        if status is None:
            if fresh:
                return Outcome("saved", "file", None)
            return Outcome("saved", "unseen" if self.request.file is None else "failed", None)
        code = os.waitstatus_to_exitcode(status)
        if code == EXIT_SAVED:
            return Outcome("saved", "exit_85", status)
        if code == 0:
            return Outcome("saved", "file", status) if fresh else Outcome("gone", "completed", status)
        if -code in _ENDED_BY_HAND and -code != self.request.signal:
            return Outcome("gone", "ended", status)
        return Outcome("saved", "failed", status)


def _handles(pid: int, number: int) -> bool:
    """Whether that process has a handler for it, or blocks it to wait for it (sigwaitinfo(2), signalfd(2))."""
    try:
        fields = proc.status(pid)
        caught, blocked, ignored = (int(fields[name], 16) for name in ("SigCgt", "SigBlk", "SigIgn"))
    except (OSError, KeyError, ValueError):
        return False
    bit = 1 << (number - 1)
    return bool((caught | blocked) & bit) and not ignored & bit
