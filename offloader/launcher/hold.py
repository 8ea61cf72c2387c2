"""The target's role: claims a capsule, waits for *go*, launches, proves, takes ownership, collects the exit code.

One thread, one loop. Until ownership passed it lives on a lease: when the controller's answers stop, the successor's
whole tree is killed at the lease's end, so that the original may thaw (docs/protocol.md). What it launches is the
capsule's command, or what an image of the original becomes (criu/revival.py): that one stays stopped until `cont`.
"""

from __future__ import annotations

import os
import selectors
import signal
from pathlib import Path

from . import check, detach, kernel, output, place, successor, warden
from .attempt_record import AttemptRecord, whose
from .capsule import Capsule
from .criu.revival import Revival, checked
from .errors import LauncherError
from .lease import Lease, boottime
from .prove import Proof
from .reaper import Tree
from .server import LinkServer
from .terminal.door import Door
from .terminal.screen import Screen
from .wakeup import Wakeup
from .wire import Document, emit

__all__ = ["EXIT_ABORTED", "EXIT_FAILED", "EXIT_NOT_CLAIMED", "Hold", "claimed", "main", "run"]

EXIT_NOT_CLAIMED = 3
EXIT_ABORTED = 4
EXIT_FAILED = 5
_FILE_LOOK_S = 0.1
_REPORT_BYTES = 1 << 16
_LEASED = frozenset({"held", "launched", "proven"})


class Hold:
    """One attempt at its target."""

    def __init__(self, directory: Path, capsule: Capsule) -> None:
        self._directory = directory
        self._capsule = capsule
        self._timings = capsule.timings
        self._record = AttemptRecord(directory, capsule)
        self._tree = Tree()
        self._lease: Lease | None = None
        self._settle_s = 0.0
        self._proof: Proof | None = None
        self._revival: Revival | None = None
        self._resumes: Document = {}
        self._image: Document = {}
        self._report: int | None = None
        self._reported = b""
        self._kill_at: float | None = None
        self._told_to_end = False
        self._connections = 0
        self._selector = selectors.DefaultSelector()
        self._server = LinkServer(directory, self._selector, self._record.hello)
        self._wakeup = Wakeup(self._selector, (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT))

    def run(self) -> int:
        """Until nothing is left to do. Returns the process' exit status: the job's own once it was owned."""
        try:
            self._start()
            while not self._record.final:
                self._round()
        finally:
            self._tree.kill()
            self._server.close()
            if self._revival is not None:
                self._revival.close()
            self._wakeup.close()
            self._selector.close()
        return self._exit_status()

    # --- the loop -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._capsule.criu:
            self._prepare_revival()
        else:
            obstacles = check.obstacles_as_owner(self._capsule)
            if obstacles:
                self._fail(obstacles[0]["reason"], "; ".join(one["seen"] for one in obstacles))
        if not self._record.final:
            self._record.enter("held")

    def _prepare_revival(self) -> None:
        """What an image needs was compared with this node before; the restore itself is the last word."""
        try:
            task, criu, terminal = self._capsule.task, self._capsule.criu, self._capsule.terminal
            self._revival = Revival(self._directory, task, criu, self._selector, terminal=terminal)
        except OSError as error:
            self._fail("LAUNCH_FAILED", f"no cradle for the job: {error}")
            return
        self._tree.adopt(self._revival.pid)
        self._selector.register(self._revival.descriptor, selectors.EVENT_READ, self._revival)

    def _round(self) -> None:
        timeout = max(0.0, self._next_event() - boottime())
        for key, mask in self._selector.select(timeout):
            if self._record.final:
                return
            if key.data is self._server:
                for message in self._server.receive(key.fileobj, mask):
                    self._obey(message)
            elif key.data is self._wakeup:
                self._signalled()
            elif self._revival is not None and key.data is self._revival:
                self._hear_cradle(self._revival)
            elif isinstance(key.data, Door):
                key.data.serve(key.fileobj)
            elif isinstance(key.data, Screen):
                key.data.serve(key.fileobj, mask)
            else:
                self._read_report()
        if not self._record.final:
            self._tick(boottime())

    def _next_event(self) -> float:
        now = boottime()
        due = [now + 60.0]
        if self._lease is not None and self._record.state in _LEASED:
            due.append(self._lease.next_event())
        elif self._record.state == "held" and not self._server.linked:
            due.append(self._server.unlinked_since + self._timings.unlinked_s)
        if self._proof is not None and self._record.state == "launched":
            due.append(now + _FILE_LOOK_S if self._proof.watches_file else self._proof.due)
        if self._kill_at is not None:
            due.append(self._kill_at)
        if self._screen is not None and self._screen.due is not None:
            due.append(self._screen.due)
        return min(due)

    @property
    def _screen(self) -> Screen | None:
        return self._revival.screen if self._revival is not None else None

    def _tick(self, now: float) -> None:
        if self._lease is not None and self._record.state in _LEASED:
            self._mind_the_lease(self._lease, now)
        elif self._record.state == "held" and self._server.unlinked_for(now) >= self._timings.unlinked_s:
            self._abort(f"nobody asked for it for {self._timings.unlinked_s:g} s")
        if self._proof is not None and self._record.state == "launched":
            self._prove(self._proof, now)
        if self._screen is not None:
            self._screen.tick(now)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._tree.kill()
            self._look_at_tree()

    def _mind_the_lease(self, lease: Lease, now: float) -> None:
        if lease.expired(now):
            self._abort("the lease ran out: no answer from the controller")
            return
        if self._server.connections != self._connections:
            self._connections = self._server.connections
            lease.ask_again(now)
        seq = lease.question(now)
        if seq is not None:
            self._server.send({"event": "lease?", "seq": seq})

    # --- what the controller says -------------------------------------------------------------------------------

    def _obey(self, message: Document) -> None:
        do = str(message.get("do"))
        if do == "grant":
            self._granted(message.get("seq"))
        elif do == "stop":
            self._stop(message)
        elif do in {"go", "own", "abort", "cont"} and message.get("epoch") != self._capsule.epoch:
            detail = f"this is epoch {self._capsule.epoch}"
            failed = "failed" if self._record.state == "held" and self._lease is None else "refused"
            self._server.send({"event": failed, "do": do, "reason": "OLD_EPOCH", "detail": detail})
        elif do == "go":
            self._go(message)
        elif do == "own":
            self._own()
        elif do == "cont":
            self._continue()
        elif do == "abort":
            self._abort("asked to") if self._record.state in _LEASED else self._say_state()
        else:
            self._server.send({"event": "refused", "do": do, "reason": "BAD_MESSAGE", "detail": "unknown"})

    def _go(self, message: Document) -> None:
        """Start the lease; the first grant starts the successor (an old `go` from a dead network never gets one)."""
        if self._record.state != "held" or self._lease is not None:
            self._say_state()
            return
        settle = message.get("settle_s", 0.0)
        if isinstance(settle, bool) or not isinstance(settle, (int, float)) or not settle >= 0:
            self._server.send({"event": "refused", "do": "go", "reason": "BAD_MESSAGE", "detail": "settle_s"})
            return
        if self._revival is not None:
            try:
                self._image = checked(message.get("image"), terminal=self._capsule.terminal)
            except LauncherError as error:
                self._server.send({"event": "refused", "do": "go", "reason": error.code, "detail": error.detail})
                return
        newer = place.newer_epoch(self._directory, self._capsule)
        if newer is not None:
            self._fail("OLD_EPOCH", f"epoch {newer} of the job is here already")
            return
        self._settle_s = float(settle)
        self._lease = Lease(boottime(), length_s=self._timings.lease_s, question_s=self._timings.question_s)

    def _granted(self, seq: object) -> None:
        if self._lease is None:
            return
        first = not self._lease.granted
        self._lease.grant(seq, boottime())
        if first and self._lease.granted and self._record.state == "held":
            self._launch()

    def _own(self) -> None:
        now = boottime()
        if self._lease is not None and self._record.state in _LEASED and self._lease.expired(now):
            self._abort("the lease ran out: no answer from the controller")
        elif self._record.state != "proven":
            self._say_state(unless_in=("held", "launched"), do="own")
        elif not self._record.enter("owned"):
            self._abort("the state file cannot be written")
        else:
            self._server.send(self._record.event())
            if self._revival is not None:
                self._revival.owned()
            self._look_at_tree()

    def _continue(self) -> None:
        """The original has ended: what was restored goes on. Anything else goes on already."""
        if self._record.state != "owned":
            self._say_state(unless_in=tuple(_LEASED), do="cont")
        elif self._revival is None:
            self._server.send({"event": "continued"})
        else:
            self._revival.go_on()  # one that is gone has ended with all of the job, and that is what will be said

    def _stop(self, message: Document) -> None:
        number, grace = message.get("signal", signal.SIGTERM), message.get("grace_s", self._timings.grace_s)
        try:
            number, grace_s = signal.Signals(number), max(0.0, float(grace))
        except (TypeError, ValueError):
            self._server.send({"event": "refused", "do": "stop", "reason": "BAD_MESSAGE", "detail": "signal, grace_s"})
            return
        if self._record.state != "owned":
            self._say_state(unless_in=tuple(_LEASED), do="stop")
            return
        self._end_for_owner(number, grace_s)

    def _end_for_owner(self, number: int, grace_s: float) -> None:
        self._told_to_end = True
        self._tree.signal(number)
        self._kill_at = min(self._kill_at or float("inf"), boottime() + grace_s)

    def _say_state(self, *, unless_in: tuple[str, ...] = (), do: str = "") -> None:
        """Repeat the event of the present state: asking twice is always safe."""
        if self._record.state in unless_in:
            self._server.send(
                {"event": "refused", "do": do, "reason": "NOT_PROVEN", "detail": f"it is {self._record.state}"}
            )
        elif self._record.state != "held":
            self._server.send(self._record.event())

    # --- the successor ------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        if self._revival is not None:
            try:
                self._revival.restore(self._image)
            except LauncherError as error:
                self._fail(error.code, error.detail)
            except OSError as error:
                self._fail("LAUNCH_FAILED", f"the image cannot be written: {error.strerror}")
            return
        try:
            log = output.open_log(self._directory, self._capsule)
            try:
                self._record.facts["log"] = output.places(self._capsule)
                self._proof = Proof(self._capsule.image, self._settle_s, boottime())
                self._resumes = _modified(self._capsule.checkpoint)
                launched = successor.launch(self._capsule, log)
            finally:
                os.close(log)
        except OSError as error:
            self._fail("LAUNCH_FAILED", str(error))
            return
        self._tree.adopt(launched.pid)
        self._report = launched.report
        self._selector.register(launched.report, selectors.EVENT_READ, None)

    def _read_report(self) -> None:
        assert self._report is not None
        data = os.read(self._report, _REPORT_BYTES)
        self._reported += data
        if data:
            return
        self._selector.unregister(self._report)
        os.close(self._report)
        self._report = None
        why = successor.outcome(self._reported)
        if why is not None:
            self._fail("LAUNCH_FAILED", why)
            return
        self._launched()

    def _launched(self) -> None:
        """The command was executed: the settle time counts from here."""
        assert self._tree.leader is not None
        self._record.facts["child"] = {**whose(self._tree.leader), **self._resumes}
        if self._proof is not None:
            self._proof.restarted(boottime(), self._settle_s)
        if not self._record.enter("launched"):
            self._fail("LAUNCH_FAILED", "the state file cannot be written")
            return
        self._server.send(self._record.event())
        self._look_at_tree()

    def _hear_cradle(self, revival: Revival) -> None:
        try:
            events = revival.said()
        except LauncherError as error:
            self._fail(error.code, error.detail)
            return
        if revival.silent and revival.descriptor in self._selector.get_map():
            self._selector.unregister(revival.descriptor)
        for event in events:
            if event["event"] == "restored" and self._record.state == "held":
                self._restored(int(event["pid"]))
            elif event["event"] == "continued":
                self._server.send(event)

    def _restored(self, leader: int) -> None:
        """All of it is there, as it was, and stopped: no other proof could be stronger before it may execute."""
        self._record.facts["log"] = output.places(self._capsule)
        self._record.facts["child"] = whose(leader)
        if not self._record.enter("launched"):
            self._fail("LAUNCH_FAILED", "the state file cannot be written")
            return
        self._server.send(self._record.event())
        self._proven("restored")

    def _prove(self, proof: Proof, now: float) -> None:
        found = proof.look(now)
        if found is not None and found[0] == "proven":
            self._proven(found[1])
        elif found is not None:
            self._fail("NOT_PROVEN", found[1])

    def _proven(self, how: str) -> None:
        self._record.facts["how"] = how
        if not self._record.enter("proven"):
            self._fail("LAUNCH_FAILED", "the state file cannot be written")
            return
        self._server.send(self._record.event())

    def _signalled(self) -> None:
        numbers = self._wakeup.drain()
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            if self._record.state == "owned":
                self._record.facts["taken"] = True  # not its owner's wish: the node or its Ray goes down
                self._end_for_owner(signal.SIGTERM, self._timings.grace_s)
            elif self._record.state in _LEASED:
                self._abort("the launcher was told to end")
                return
        self._tree.collect()
        self._look_at_tree()

    def _look_at_tree(self) -> None:
        """What an ended leader means depends on the state; its descendants are part of the job until they end too."""
        self._tree.collect()
        status = self._tree.leader_status
        if status is None or self._report is not None:
            return
        if self._record.state == "held" and self._revival is not None:
            self._hear_cradle(self._revival)  # it may have said why it ends
            if not self._record.final:
                self._fail("LAUNCH_FAILED", "the cradle of the job was ended from outside")
        elif self._record.state in {"launched", "proven"} and status != 0:
            self._note_end(status)
            self._fail("LAUNCH_FAILED", self._last_words(status))
        elif self._record.state == "launched" and self._tree.empty:
            self._proven("completed")
        elif self._record.state == "owned" and self._tree.empty:
            self._exited(status)

    def _last_words(self, status: int) -> str:
        code = os.waitstatus_to_exitcode(status)
        ended = f"it ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
        words = output.tail(self._directory)
        return f"{ended} before it owned the work" + (f"; its last output: {words}" if words else "")

    # --- ends ---------------------------------------------------------------------------------------------------

    def _exited(self, status: int) -> None:
        self._note_end(status)
        if self._revival is not None and self._revival.end is None and not self._told_to_end:
            # Its cradle has ended without a word, and the job with it: that is no result of the job's.
            self._record.facts.update(taken=True, detail="the first process of its namespaces was killed")
        self._record.enter("exited")
        self._say_state()

    def _note_end(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        if self._revival is not None:
            code = self._revival.ended(code)
        self._record.facts["exit_code"] = code if code >= 0 else None
        self._record.facts["signal"] = -code if code < 0 else None

    def _nothing_left(self) -> None:
        """Before it is said: whoever hears it may end this launcher at once."""
        self._tree.kill()
        if self._revival is not None:
            self._revival.forget_image()

    def _abort(self, why: str) -> None:
        self._nothing_left()
        self._record.facts["detail"] = why
        self._record.enter("aborted")
        self._server.send(self._record.event())

    def _fail(self, reason: str, detail: str) -> None:
        self._nothing_left()
        self._record.facts.update(reason=reason, detail=detail)
        self._record.enter("failed")
        self._say_state()

    def _exit_status(self) -> int:
        if self._record.state == "exited":
            code: int | None = self._record.facts["exit_code"]
            return code if code is not None else 128 + int(self._record.facts["signal"])
        return EXIT_ABORTED if self._record.state == "aborted" else EXIT_FAILED


def main(arguments: list[str]) -> int:
    """The verb: `hold DIR [--detach]`. Raises LauncherError."""
    detached = "--detach" in arguments
    rest = [argument for argument in arguments if argument != "--detach"]
    if len(rest) != 1:
        raise LauncherError("USAGE", "hold DIR [--detach]")
    directory = Path(rest[0]).absolute()
    capsule = claimed(directory)
    if capsule is None:
        return EXIT_NOT_CLAIMED
    if detached:
        emit({"launcher_pid": detach.run(directory, lambda ready: run(directory, capsule, ready))})
        return 0
    return run(directory, capsule)


def claimed(directory: Path) -> Capsule | None:
    """The capsule that waited there, if any did; else that is said. Raises LauncherError."""
    capsule = place.claim(directory)
    if capsule is None:
        emit({"error": "NOT_PLACED", "detail": f"no capsule waits in {directory}: revoked, or claimed before"})
    return capsule


def run(directory: Path, capsule: Capsule, ready: detach.Ready = detach.not_waited_for) -> int:
    """Be the launcher of a claimed capsule to its end. Returns the exit status."""
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    warden.start(capsule.task)
    kernel.become_subreaper()
    role = Hold(directory, capsule)
    ready()
    return role.run()


def _modified(checkpoint: bytes) -> Document:
    """`resumed_t`: when the checkpoint was written that is about to be gone on from; nothing where there is none."""
    try:
        return {"resumed_t": os.stat(checkpoint).st_mtime} if checkpoint else {}
    except OSError:
        return {}
