"""The source's role: it alone freezes, thaws and ends the original, and it is the watchdog over whoever asks it to.

Instead of freezing it may ask the original to save its state and end (saving.py); until it has, it runs. What is frozen
may be dumped (criu/copying.py); it stays frozen.
Every process is held by pidfd, the directory by a lock. Frozen without contact it thaws by itself (unless HOLD was
given, or the job's files changed); thawing never needs a disk. docs/protocol.md has the rules.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import PROTOCOL, files, freezer, proc, saving
from .criu import copying
from .durable import write_json
from .errors import LauncherError
from .guard_config import GuardConfig
from .lease import boottime
from .members import Members
from .server import LinkServer
from .states import GUARD, Machine
from .wakeup import Wakeup
from .wire import Document

__all__ = ["Guard"]

_FROZEN = frozenset({"frozen", "holding", "changed"})
_OVER = frozenset({"armed", "thawed", "saved", "ended", "gone"})
_END_LIMIT_S = 10.0
_RETRY_S = 1.0
_LONGEST_CONTACT_S = 3600.0


class Guard:
    """One move's guard. Built by guard_start, fresh or from what a former guard wrote down."""

    def __init__(self, directory: Path, config: GuardConfig, members: Members, state: str = "") -> None:
        self._directory = directory
        self._config = config
        self._members = members
        self._machine = Machine(GUARD, state)
        self._freezer: freezer.Freezer | None = None
        self._saving: saving.Saving | None = None
        self._copying: copying.Copying | None = None
        self._recorded: list[Document] = []
        self._contact_until = boottime() + config.limit_s
        self._took_s = 0.0
        self._done = False
        self._selector = selectors.DefaultSelector()
        self._server = LinkServer(directory, self._selector, self._hello)
        self._wakeup = Wakeup(self._selector, (signal.SIGTERM, signal.SIGINT))
        self._watched = members.leader.descriptor if members.leader is not None else None
        if self._watched is not None:
            self._selector.register(self._watched, selectors.EVENT_READ, None)

    def arm(self) -> None:
        """Say durably that this guard is there. Raises LauncherError (JOURNAL_FAILED)."""
        self._enter_durably("armed")

    def take_over(self, memory: Document) -> None:
        """Go on where a guard that died left off; `memory` is its state file."""
        self._recorded = list(memory["files"])
        copying.end_left_over(self._directory)
        if memory["freezer"] is not None:
            self._freezer = freezer.remembered(memory["freezer"])
            self._members.include(self._freezer.pids(self._members))
        if memory["saving"] is not None:
            self._saving = saving.Saving.remembered(self._members, memory["saving"])
        if self._state == "saving" and self._saving is not None:
            self._saving.ask()
        elif self._state == "freezing":
            self._thaw_rest("armed")
        elif self._state in _FROZEN and self._freezer is not None and not self._freezer.intact(self._members):
            if self._state == "holding":
                # Ownership may have passed: whoever let it run was not us, and it must not.
                self._freezer.freeze(self._members, boottime() + self._config.freeze_s, lambda: None)
            else:
                self._thaw_rest()
        if not self._members.leader_alive:
            self._leader_ended()
        self._write()

    def _thaw_rest(self, state: str | None = None) -> None:
        """The former guard died while it was freezing or thawing: the job runs, wholly."""
        if self._freezer is not None:
            self._let_run(self._freezer)
        self._freezer = None
        self._machine.enter(state or self._thawed())

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until somebody says quit, or nobody has asked for a guard that guards nothing."""
        try:
            while not self._done:
                self._round()
        finally:
            self._stop_copying()
            self._server.close()
            self._wakeup.close()
            self._selector.close()
            self._members.close()

    def _round(self) -> None:
        for key, mask in self._selector.select(max(0.0, self._next_event() - boottime())):
            if key.data is self._server:
                for message in self._server.receive(key.fileobj, mask):
                    self._obey(message)
            elif key.data is self._wakeup:
                self._told_to_end()
            elif isinstance(key.data, copying.Copying):
                key.data.serve(key.fileobj)
            else:
                self._leader_ended()
        self._tick(boottime())

    def _next_event(self) -> float:
        due = [boottime() + 60.0]
        if self._state == "frozen":
            due.append(self._contact_until)
        if self._state == "saving" and self._saving is not None:
            due.append(self._saving.next_look())
        if self._copying is not None and self._copying.deadline is not None:
            due.append(self._copying.deadline)
        if self._state in _OVER and not self._server.linked:
            due.append(self._server.unlinked_since + self._config.unlinked_s)
        return min(due)

    def _tick(self, now: float) -> None:
        if self._state == "frozen" and now >= self._contact_until:
            self._contact_until = now + _RETRY_S
            self._obey({"do": "thaw"}, unasked=True)
        if self._state == "saving" and self._saving is not None:
            self._look_at_saving(self._saving)
        if self._copying is not None:
            self._copying.tick(now)
        if self._state in _OVER and self._server.unlinked_for(now) >= self._config.unlinked_s:
            self._done = True

    def _told_to_end(self) -> None:
        """A guard with frozen processes stays: without it nobody would ever thaw them."""
        self._wakeup.drain()
        self._done = self._state in _OVER

    # --- what the controller says -------------------------------------------------------------------------------

    def _obey(self, message: Document, *, unasked: bool = False) -> None:
        """Answer; what nobody asked for says so, or it would be taken for the answer to the next question."""
        do = message.get("do")
        try:
            answer = self._answer(do, message)
        except LauncherError as error:
            answer = {"event": "failed", "do": do, "reason": error.code, "detail": error.detail}
        if answer is not None:
            self._server.send({**answer, "unasked": True} if unasked else answer)

    def _answer(self, do: object, message: Document) -> Document | None:
        if do == "alive":
            self._contact(message.get("for_s"))
            # Whoever is about to grant a lease has to know that this was heard, and that nothing has thawed.
            return {"event": "alive", "seq": message["seq"], "state": self._state} if "seq" in message else None
        if do == "thaw":
            return self._thaw(force=message.get("force") is True)
        steps: dict[object, Callable[[], Document | None]] = {
            "freeze": self._freeze,
            "checkpoint": lambda: self._checkpoint(message),
            "record": self._record,
            "pages": self._open_pages,
            "dump": lambda: self._dump(message),
            "hold": self._hold,
            "unhold": self._unhold,
            "end": self._end,
            "quit": self._quit,
        }
        if isinstance(do, str) and do in steps:
            return steps[do]()
        raise LauncherError("BAD_MESSAGE", f"unknown: {do!r}")

    def _freeze(self) -> Document:
        if self._state != "armed":
            if self._state in {"thawed", "ended"}:
                raise LauncherError("FREEZE_FAILED", f"it is {self._state}: a guard freezes once")
            return self._event()
        started = boottime()
        refusals = []
        for way in freezer.candidates(f"grid-offload-{self._config.move}", list(self._config.ways)):
            try:
                self._freeze_by(way, started)
            except LauncherError as error:
                refusals.append((error.code, f"{way.how}: {error.detail}"))
            except OSError as error:
                refusals.append(("FREEZE_FAILED", f"{way.how}: {error.strerror}"))
            if self._state == "frozen":
                self._took_s = boottime() - started
                self._contact_until = boottime() + self._config.limit_s
                return self._event()
            if boottime() - started >= self._config.freeze_s:
                break
        if not self._members.leader_alive:
            self._leader_ended()
            return self._event()
        code = refusals[0][0] if refusals else "FREEZE_FAILED"
        raise LauncherError(code, "; ".join(detail for _, detail in refusals) or "this node offers no way to freeze")

    def _freeze_by(self, way: freezer.Freezer, started: float) -> None:
        self._freezer = way
        try:
            way.freeze(self._members, started + self._config.freeze_s, self._note_freezing)
            self._note_frozen()
        except BaseException:
            if self._state == "freezing":
                way.thaw(self._members)
                self._enter("armed")
            raise
        finally:
            if self._state != "frozen":
                self._freezer = None

    def _note_freezing(self) -> None:
        """Written before anything stops, and again for every further cgroup."""
        if self._state == "armed":
            self._enter_durably("freezing")
        elif not self._write():
            raise LauncherError("JOURNAL_FAILED", "the state file cannot be written")

    def _note_frozen(self) -> None:
        if self._state == "armed":  # the job ended a moment ago: no process had to be stopped
            raise LauncherError("FREEZE_FAILED", "nobody is left to be frozen")
        self._enter_durably("frozen")

    def _checkpoint(self, message: Document) -> Document | None:
        """Ask it to save and end. The answer comes when it is known: *saved*, *gone*, or that the grace is over."""
        if self._state == "saving":
            return None
        if self._state == "armed" and not self._members.leader_alive:
            self._leader_ended()
        if self._state != "armed":
            return self._event()
        self._saving = saving.Saving.begin(self._members, saving.load(message))
        try:
            self._enter_durably("saving")
        except LauncherError:
            self._saving = None
            raise
        self._saving.ask()
        self._write()
        return None

    def _look_at_saving(self, asked: saving.Saving) -> None:
        outcome = asked.look()
        if outcome is not None:
            self._enter(outcome.state)
            self._server.send(self._event())
        elif (late := asked.late_event()) is not None:
            self._server.send(late)

    def _record(self) -> Document:
        if self._state not in _FROZEN:
            raise LauncherError("NOT_FROZEN", f"it is {self._state}")
        self._recorded = files.record(self._pids())
        if not self._write():
            raise LauncherError("JOURNAL_FAILED", "the state file cannot be written")
        return {"event": "recorded", "files": len(self._recorded)}

    def _open_pages(self) -> Document:
        """Before the freeze: whoever ships an image connects, and waits."""
        if self._state not in {"armed", "frozen"}:
            raise LauncherError("NOT_FROZEN", f"it is {self._state}")
        if self._copying is None:
            try:
                self._copying = copying.Copying(self._directory, self._selector, self._server.send)
            except OSError as error:
                raise LauncherError("JOURNAL_FAILED", f"there is no room for an image: {error.strerror}") from error
        return {"event": "listening"}

    def _dump(self, message: Document) -> Document | None:
        """Copy the frozen job. The answer comes when criu has ended."""
        if self._state != "frozen" or self._freezer is None or self._members.leader is None:
            raise LauncherError("NOT_FROZEN", f"it is {self._state}")
        if self._copying is None:
            raise LauncherError("NO_PAGES", "nobody asked for `pages` before")
        return self._copying.begin(message, self._members.leader.pid, self._freezer.memory())

    def _stop_copying(self) -> None:
        """Whatever was dumped is of no use any more, or was restored. The job is frozen as before."""
        if self._copying is not None:
            own, self._copying = self._copying, None
            try:
                own.close()
            except LauncherError as error:  # criu is gone and the job runs: what is done next thaws or ends it
                sys.stderr.write(f"{error}\n")

    def _contact(self, for_s: object) -> None:
        if isinstance(for_s, bool) or not isinstance(for_s, (int, float)) or not 0 <= for_s <= _LONGEST_CONTACT_S:
            for_s = self._config.limit_s
        self._contact_until = boottime() + for_s

    def _hold(self) -> Document:
        if self._state in {"frozen", "changed"}:
            self._enter_durably("holding")
        elif self._state in {"gone", "saved"}:
            # It will never run again, which is all that HOLD promises.
            return {"event": "holding", "gone": True}
        elif self._state != "holding":
            raise LauncherError("WATCHDOG_LOST", f"it is {self._state}")
        return {"event": "holding"}

    def _unhold(self) -> Document:
        if self._state == "holding":
            self._enter("frozen")
            self._contact_until = boottime() + self._config.limit_s
        return self._event()

    def _thaw(self, *, force: bool) -> Document:
        if self._state == "holding":
            raise LauncherError("HOLDING", "ownership may have passed: unhold first")
        self._stop_copying()
        if self._state in {"frozen", "changed"}:
            names = [] if force else files.changed(self._recorded)
            if names:
                if self._state == "frozen":
                    self._enter("changed")
                return {"event": "changed", "files": names}
            assert self._freezer is not None
            self._let_run(self._freezer)
        if self._state in {"armed", "frozen", "changed"}:
            self._enter(self._thawed())
        return self._event()

    def _let_run(self, way: freezer.Freezer) -> None:
        """Thaw, and see those die that were killed while they were frozen: asked at once, they would still be alive."""
        killed = self._members.killed()
        way.thaw(self._members)
        deadline = boottime() + _END_LIMIT_S
        for held in killed:
            held.wait(max(0.0, deadline - boottime()))

    def _thawed(self) -> str:
        """Its first process may have been killed meanwhile: what it had started goes on, and is the job."""
        return "thawed" if self._members.alive() else "gone"

    def _end(self) -> Document:
        if self._state in {"armed", "thawed", "saving"}:
            raise LauncherError("NOT_FROZEN", f"it is {self._state}: only a frozen job is ended")
        self._stop_copying()
        if self._state in _FROZEN:
            self._kill_frozen()
        if self._state != "ended":
            self._enter("ended")
        return {"event": "ended"}

    def _kill_frozen(self) -> None:
        """KILL first, thaw second: v1 delivers it at the thaw, v2 and SIGSTOP at once; not one instruction runs."""
        assert self._freezer is not None
        self._members.include(self._freezer.pids(self._members))
        for held in self._members.alive():
            held.signal(signal.SIGKILL)
        self._freezer.thaw(self._members)
        deadline = boottime() + _END_LIMIT_S
        for held in self._members.alive():
            held.wait(max(0.0, deadline - boottime()))
        if self._members.alive():
            pids = [held.pid for held in self._members.alive()]
            raise LauncherError("TIMEOUT", f"killed, but stuck in the kernel: {pids}")

    def _quit(self) -> Document | None:
        if self._state not in _OVER:
            raise LauncherError("STILL_FROZEN", f"it is {self._state}")
        self._done = True
        return None

    # --- the original -------------------------------------------------------------------------------------------

    def _leader_ended(self) -> None:
        """Killed by its owner, by the OOM killer, or simply done. What is left of a frozen job stays frozen."""
        if self._watched is not None:
            self._selector.unregister(self._watched)
            self._watched = None
        if self._state == "saving":
            return  # what its end means is seen when all of it has ended
        left = self._members.alive()
        if self._state == "armed" or (self._state in _FROZEN and not left):
            if self._freezer is not None:
                self._freezer.thaw(self._members)
            self._enter("gone")
        if self._state not in {"thawed", "ended", "saved"}:
            self._server.send({**self._gone(), "unasked": True})

    def _gone(self) -> Document:
        leader = self._members.leader
        return {
            "event": "gone",
            "pids": [leader.pid] if leader is not None else [],
            "left": [held.pid for held in self._members.alive()],
            **(self._saving.told() if self._saving is not None else {"signal_unknown": True}),
        }

    def _pids(self) -> list[int]:
        return self._freezer.pids(self._members) if self._freezer is not None else []

    # --- what is said and written -------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        return self._machine.state

    def _event(self) -> Document:
        """The present state as an event: what a repeated message is answered with."""
        if self._state == "frozen":
            assert self._freezer is not None
            return {
                "event": "frozen",
                "how": self._freezer.how,
                "took_s": round(self._took_s, 6),
                "pids": self._pids(),
            }
        if self._state == "saved":
            return {"event": "saved", **(self._saving.told() if self._saving is not None else {"how": "unseen"})}
        return self._gone() if self._state == "gone" else {"event": self._state}

    def _enter_durably(self, state: str) -> None:
        """For states that promise something. Raises LauncherError (JOURNAL_FAILED) without having entered it."""
        before = self._state
        self._machine.enter(state)
        if not self._write():
            self._machine.state = before
            raise LauncherError("JOURNAL_FAILED", "the state file cannot be written")

    def _enter(self, state: str) -> None:
        """For states in which nothing is held back any more: true whether or not the disk takes it."""
        self._machine.enter(state)
        self._write()

    def _write(self) -> bool:
        try:
            write_json(self._directory / "state.json", self._document())
        except OSError as error:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"state.json: {error}\n")
            return False
        return True

    def _document(self) -> Document:
        stat = proc.read_stat(os.getpid())
        known = self._members.known
        return {
            "role": "guard",
            "protocol": PROTOCOL,
            "state": self._state,
            **self._config.document(),
            "boot_id": proc.boot_id(),
            "pid": os.getpid(),
            "start_ticks": stat.start_ticks if stat is not None else 0,
            "child": known[0] if known else None,
            "members": known,
            "freezer": self._freezer.memory() if self._freezer is not None else None,
            "files": self._recorded,
            "saving": self._saving.memory() if self._saving is not None else None,
            "t": time.time(),
        }

    def _hello(self) -> Document:
        extra: dict[str, Any] = {"leader_alive": self._members.leader_alive}
        if self._saving is not None:
            extra.update(self._saving.told())
        return {"event": "hello", "protocol": PROTOCOL, "state": self._state, "move": self._config.move, **extra}
