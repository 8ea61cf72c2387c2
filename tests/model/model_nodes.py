"""Both nodes as the model has them, behind the interfaces by which the controller reaches real ones.

What a guard or a launcher does is taken from `_model.source` and `_model.target`, step by step; nothing of their
behaviour is written down here. What the controller sends becomes what is on its way in the model; what the model's
launcher says becomes an event of docs/architecture.md.
"""

import asyncio
import json
import posixpath
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from _model import source, target
from _model.explore import broken
from _model.links import lost
from _model.world import (
    ABORT,
    ANSWERS,
    ASKED,
    GO,
    GRANT,
    LEASED,
    OWN,
    Attempt,
    Rules,
    World,
    aged,
    first,
    node_up,
    sent,
    with_attempt,
)

from offloader.backends.base import Submission, SubmissionState, SubmissionStatus
from offloader.errors import BackendError, NodeUnreachable
from offloader.moves.agent import VerbFailed
from offloader.moves.link import Link
from offloader.moves.plan import MoveNode

SLOT_S = 5.0
KEEPALIVE_S = 45.0
"""A connection on which nothing arrives any more is noticed after so long."""

PLACED = {"": "absent", "waiting": "placed", "claimed": "claimed", "revoked": "revoked"}
REFUSALS = {
    "freeze": "FREEZE_FAILED",
    "record": "NOT_FROZEN",
    "hold": "WATCHDOG_LOST",
    "thaw": "HOLDING",
    "end": "NOT_FROZEN",
}
SELDOM = (
    ("was asked for nothing", 0.003),
    ("asks for its lease", 0.3),
    ("finds an obstacle", 0.02),
    ("writes to a file", 0.2),
    ("ends well", 0.03),
    ("has settled", 0.5),
    ("hears", 1.5),
)
"""How likely a step is against others that may be taken, which have 1."""


class Channel:
    """ports.LineChannel in memory: what was sent last arrives last, or nothing arrives."""

    def __init__(self, nodes: "Nodes", number: int | None) -> None:
        """Args: number: of the attempt; None: the guard's."""
        self.number = number
        self.cut = False  # whatever is sent is lost
        self._nodes = nodes
        self._life = nodes.life
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed = False
        self._there = 0.0
        self._back = 0.0

    async def send(self, line: bytes) -> None:
        if self._closed:
            raise NodeUnreachable("the connection is closed")
        message = json.loads(line)
        if self._life != self._nodes.life:
            return
        self._nodes.note_sent(message)
        if self.cut or self._nodes.unlucky():
            return
        if self.number is not None:
            self._nodes.on_its_way(self.number, message)
            return
        loop = asyncio.get_running_loop()
        self._there = max(self._there, loop.time() + self._nodes.delay())
        loop.call_at(self._there, self._nodes.guard_hears, self, message)

    async def lines(self) -> AsyncIterator[bytes]:
        while (line := await self._lines.get()) is not None:
            yield line

    async def close(self) -> None:
        self._closed = True
        self._nodes.left(self)

    def tell(self, event: dict[str, Any], read: Callable[[], None] = lambda: None) -> None:
        """Say something to the controller; `read` is called when it arrives."""
        if not self.cut:
            self._arrives(json.dumps(event).encode(), read)

    def end(self, after_s: float = 0.0) -> None:
        """The controller sees that it is over, now or later; nothing more gets through."""
        if not self.cut:
            self._arrives(None, lambda: None, after_s)
        self.cut = True

    def _arrives(self, line: bytes | None, read: Callable[[], None], after_s: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        self._back = max(self._back, loop.time() + self._nodes.delay() + after_s)

        def arrive() -> None:
            if not self._closed:
                self._lines.put_nowait(line)
                read()

        loop.call_at(self._back, arrive)


@dataclass
class Nodes:
    """The one state of the model that everything acts on. `life`: of the controller, each has its number."""

    random: random.Random
    now: Callable[[], float]
    context: Callable[[], str]
    moment: Callable[[str], None]  # told of what may be worth a fault
    rules: Rules = field(default_factory=lambda: Rules(lease=2))
    world: World = field(default_factory=lambda: first()._replace(attempts=(Attempt(),), at=""))
    life: int = 1
    noise: float = 0.0  # how likely a message or an answer is lost
    settling: float = 1.0  # how much longer than usual a successor takes to be proven
    calm: bool = False
    broken: str = ""
    story: list[str] = field(default_factory=list)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    out_of_reach: dict[str, float] = field(default_factory=dict)  # node → until when
    endings: dict[int, dict[str, Any]] = field(default_factory=dict)
    owner_killed_it: bool = False
    _slot: int = 0
    _asked: list[int] = field(default_factory=list)  # seq → slot of the question
    _guard: Channel | None = None
    _launcher: Channel | None = None  # of the newest attempt

    def tell(self, what: str) -> None:
        self.story.append(f"{self.now():7.1f} {what}")

    def note(self, message: str) -> None:
        """The controller does this, in that state of its journal."""
        pair = (self.context(), message)
        self.pairs.add(pair)
        self.tell(f"    {pair[0]}: {message}")

    def note_sent(self, message: dict[str, Any]) -> None:
        if message["do"] != "alive" or "seq" in message:  # the beat only keeps the guard patient
            self.note(message["do"])

    def delay(self) -> float:
        return self.random.uniform(0.0, 0.3)

    def unlucky(self) -> bool:
        return not self.calm and self.random.random() < self.noise

    # What happens by itself

    def becomes(self, after: World, what: str) -> None:
        """One step of the model, judged, and what is said in it is on its way to the controller."""
        before, self.world = self.world, after
        self.tell(what)
        self.broken = self.broken or broken(after)
        self._say(before)
        if "executes" in what or "hears own" in what or "writes to" in what:
            self.moment(what.partition(" ")[0] + " " + what.split(" ", 2)[2])

    def step(self) -> None:
        """Something that may happen next happens."""
        may = [*source.steps(self.world, self.rules), *target.steps(self.world, self.rules)]
        if self.calm:
            may = [one for one in may if not one[2] and "finds an obstacle" not in one[0]]
        if not may:
            return
        may.append(("", self.world, False))
        weights = [0.03 if fault else _weight(what) for what, _, fault in may]
        weights = [
            weight / self.settling if "has settled" in one[0] else weight
            for weight, one in zip(weights, may, strict=True)
        ]
        what, after, _ = self.random.choices(may, weights)[0]
        if not what:
            return
        if "writes to a file" in what and self.random.random() > 0.3:
            return
        self.becomes(after, what)

    def passes(self) -> None:
        """A slot is over: first happens what has to happen in it."""
        while (blocking := self._blocking()) is not None:
            self.becomes(*blocking)
        for what, after, _ in aged(self.world, self.rules):
            del what
            self.world = after
        self._slot += 1

    def _blocking(self) -> tuple[World, str] | None:
        for number, attempt in enumerate(self.world.attempts):
            mine = [
                (after, what)
                for what, after, _ in target.steps(self.world, self.rules)
                if f" {number + 1}'s lease is over" in what or what.startswith(f"warden {number + 1} ")
            ]
            if mine and (attempt.lease == 0 or not attempt.up):
                return mine[0]
        return None

    def _say(self, before: World) -> None:
        world = self.world
        if world.guard != before.guard and world.guard in ("gone", "thawed", "changed") and self._guard is not None:
            self._guard.tell({"event": world.guard, "unasked": True, "pids": [4711]})
        if not world.guard_up and self._guard is not None:
            self._guard.end()
        channel, number = self._launcher, len(world.attempts) - 1
        if channel is None or channel.number != number:
            return
        for state, bit in ANSWERS.items():
            if world.inbox & bit:
                channel.tell({"event": state, **self._details(number, state)})
        if world.inbox & ASKED and not before.inbox & ASKED:
            self._asked.append(self._slot)
            channel.tell({"event": "lease?", "seq": len(self._asked) - 1}, self._question_arrives)
        self.world = world._replace(inbox=world.inbox & ~(ASKED - 1))
        if not world.attempt.up:
            channel.end()

    def _question_arrives(self) -> None:
        self.world = self.world._replace(inbox=self.world.inbox & (ASKED - 1))

    def _details(self, number: int, state: str) -> dict[str, Any]:
        match state:
            case "launched":
                return {"pid": 5000 + number, "start_ticks": 1}
            case "proven":
                return {"how": "settled"}
            case "failed":
                return {"reason": self.random.choice(("LAUNCH_FAILED", "NOT_PROVEN"))}
            case "exited":
                return self._ending(number)
        return {}

    def _ending(self, number: int) -> dict[str, Any]:
        if number not in self.endings:
            code = self.random.choice((0, 0, 0, 1, None))
            self.endings[number] = {"exit_code": code, "signal": None if code is not None else 9}
            if self.random.random() < 0.2:
                self.endings[number]["taken"] = True
        return self.endings[number]

    # What the controller sends

    def on_its_way(self, number: int, message: dict[str, Any]) -> None:
        """To a launcher: heard whenever the model lets it be heard."""
        assert number == len(self.world.attempts) - 1, "it speaks to an attempt that is not the newest"
        match message["do"]:
            case "grant":
                age = self._slot - self._asked[message["seq"]]
                if age < self.rules.lease:
                    self.world = sent(self.world, GRANT << age)
            case "stop":
                asyncio.get_running_loop().call_later(self.delay(), self._stop, number, message["signal"])
            case do:
                assert message["epoch"] == number + 1
                self.world = sent(self.world, {"go": GO, "own": OWN, "abort": ABORT}[do])

    def _stop(self, number: int, signal: int) -> None:
        attempt = self.world.attempts[number]
        if attempt.up and attempt.state == "owned":
            self.endings[number] = {"exit_code": None, "signal": signal}
            self.becomes(target.entered(self.world, number, attempt, "exited", self.rules), "its owner ends the job")

    def guard_hears(self, channel: Channel, message: dict[str, Any]) -> None:
        if channel.cut or not self.world.source_up or not self.world.guard_up or self._guard not in (channel, None):
            return
        do = message["do"]
        may = list(source.outcomes(self.world, do, self.rules))
        if self.calm or self.random.random() > self.noise:
            may = [one for one in may if one[1].guard_up or do == "quit"]
        answer, after = self.random.choice(may)
        if answer == "failed" and len(may) > 1 and self.random.random() < 0.95:
            answer, after = next(one for one in may if one[0] != "failed")
        if do != "alive":
            self.becomes(after, f"the guard hears {do}: {answer or ('dies' if do != 'quit' else 'quits')}")
            self.moment(f"guard hears {do}")
            if answer:
                channel.tell({"event": answer, "do": do, "pids": [4711], "reason": REFUSALS.get(do, "BAD_MESSAGE")})
            return
        self.world = after
        if "seq" in message:
            channel.tell({"event": "alive", "seq": message["seq"], "state": answer})

    def left(self, channel: Channel) -> None:
        """The controller closed it."""
        if channel is self._guard:
            self._guard = None
        if channel is self._launcher:
            self._launcher = None
            self.world = lost(self.world)

    # Links and verbs

    def number(self, directory: str) -> int:
        """Of the attempt with that directory, which begins to exist when it is first spoken of."""
        name = posixpath.basename(directory)
        number = int(name.rpartition(".")[2]) - 1
        while number >= len(self.world.attempts):  # more than one: of those before nothing got through
            at = "source" if directory.startswith("/head/") else "target"
            self.cut_launcher()
            self.world = lost(self.world)._replace(attempts=(*self.world.attempts, Attempt(at)))
        return number

    def connect(self, directory: str) -> Channel:
        if "/moves/" in directory:
            return self._connect_to_guard()
        number = self.number(directory)
        attempt = self.world.attempts[number]
        channel = Channel(self, number)
        if number != len(self.world.attempts) - 1 or not (
            node_up(self.world, attempt) and attempt.up and attempt.state
        ):
            channel.tell({"error": "NOT_RUNNING"})
            channel.end()
            return channel
        self.cut_launcher()
        self._launcher = channel
        self.world = lost(self.world)._replace(link=True)
        channel.tell({"event": "hello", "state": attempt.state, "epoch": number + 1})
        return channel

    def _connect_to_guard(self) -> Channel:
        channel = Channel(self, None)
        if not self.world.source_up or not self.world.guard_up:
            channel.tell({"error": "NOT_RUNNING"})
            channel.end()
            return channel
        if self._guard is not None:
            self._guard.end()
        self._guard = channel
        channel.tell({"event": "hello", "state": self.world.guard})
        return channel

    def cut_launcher(self, after_s: float = 0.0) -> None:
        """Its connection breaks; who sits at it may notice late."""
        if self._launcher is not None:
            self._launcher.end(after_s)
            self._launcher = None
        self.world = lost(self.world)

    def cut_guard(self, after_s: float = 0.0) -> None:
        if self._guard is not None:
            self._guard.end(after_s)
            self._guard = None

    def do(self, node: str, verb: str, directory: str, stdin: bytes) -> dict[str, Any]:
        """One verb of the launcher. Raises VerbFailed."""
        if verb == "guard":
            return self._arm() if stdin else self._adopt()
        number = self.number(directory)
        assert (self.world.attempts[number].at == "source") == (node == "head")
        attempt = self.world.attempts[number]
        match verb:
            case "place":
                if attempt.capsule:
                    raise VerbFailed("EXISTS", "it was revoked meanwhile")
                self._attempt(number, attempt._replace(capsule="waiting"), "the capsule is placed")
                return {}
            case "revoke":
                if attempt.capsule != "claimed":
                    self._attempt(number, attempt._replace(capsule="revoked"), "the capsule is revoked")
                return {"revoked": attempt.capsule != "claimed"}
            case "hold":
                self._attempt(number, attempt._replace(queued=True), "a launcher is to start")
                return {"launcher_pid": 1}
            case "status":
                return self._status(number, attempt)
            case "fence":
                return self._fence(number, attempt)
        raise AssertionError(verb)

    def number_of(self, submission: str) -> int:
        """Of the attempt that the backend has by that name."""
        job, _, epoch = submission.rpartition("-")
        return self.number(f"/worker/attempts/{job}.{epoch}")

    def submit(self, submission: Submission) -> None:
        number = self.number_of(submission.id)
        self._attempt(number, self.world.attempts[number]._replace(queued=True), "the backend has it")

    def _attempt(self, number: int, attempt: Attempt, what: str) -> None:
        self.becomes(with_attempt(self.world, number, attempt), f"{what} ({number + 1})")

    def _status(self, number: int, attempt: Attempt) -> dict[str, Any]:
        alive = attempt.up and attempt.state != ""  # one that only starts has not written down yet who it is
        status: dict[str, Any] = {"state": attempt.state or PLACED[attempt.capsule], "launcher_alive": alive}
        if attempt.state not in ("", "held"):
            status["child"] = {"pid": 5000 + number}
        if attempt.state == "exited":
            status |= {**self._ending(number), "t": None}
        return status

    def _fence(self, number: int, attempt: Attempt) -> dict[str, Any]:
        capsule = attempt.capsule if attempt.capsule == "claimed" else "revoked"
        starting = attempt.up and not attempt.state  # it is not found, and nobody will say go to it
        after = attempt._replace(capsule=capsule, up=starting, child=False)
        if attempt.state in LEASED or attempt.state == "owned":  # launcher/fence.py writes it over an `owned`, too
            after = after._replace(state="aborted")
        self._attempt(number, after, "a fence kills what is left")
        return {"dead": True, "killed": int(attempt.child)}

    def _arm(self) -> dict[str, Any]:
        if self.world.original == "end":
            raise VerbFailed("ORIGINAL_GONE", "it has ended")
        if self.world.guard:
            raise VerbFailed("EXISTS", "there is a guard")
        self.becomes(self.rules.seen.guarded(self.world, "armed")._replace(guard_up=True), "the guard is armed")
        return {"guard_pid": 1}

    def _adopt(self) -> dict[str, Any]:
        if not self.world.guard:
            raise VerbFailed("NO_STATE", "there never was a guard")
        if self.world.guard_up:
            raise VerbFailed("LOCKED", "it lives")
        self.becomes(source.taken_over(self.world, self.rules), "a new guard takes over")
        return {"guard_pid": 1}


def _weight(what: str) -> float:
    return next((weight for part, weight in SELDOM if part in what), 1.0)


class ModelAgent:
    """Stands in for moves.agent.Agent."""

    def __init__(self, nodes: Nodes, name: str, verb_s: float) -> None:
        self.node = MoveNode(name, name, "/usr/bin/python3", f"/{name}")
        self._nodes = nodes
        self._verb_s = verb_s
        self._arming = False

    def attempt_dir(self, job: str, epoch: int) -> str:
        return posixpath.join(self.node.state_dir, "attempts", f"{job}.{epoch}")

    def move_dir(self, move_id: str) -> str:
        return posixpath.join(self.node.state_dir, "moves", move_id)

    def argv(self, verb: str, *arguments: str) -> tuple[str, ...]:
        return (verb, *arguments)

    def forget(self) -> None:
        """Nothing is placed on a node of the model."""

    async def verb(self, verb: str, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> Any:
        if verb == "guard" and stdin:
            self._nodes.note("arm")
            self._arming = True
        elif verb in ("place", "revoke", "fence"):
            self._nodes.note(verb)
        elif verb == "hold":
            self._nodes.note("submit")
        await self._reach(f"{verb} is not answered", timeout_s)
        refused = None
        try:
            answer = self._nodes.do(self.node.name, verb, arguments[0], stdin)
        except VerbFailed as error:
            refused = error
        await self._reach(f"{verb}: the answer is lost", timeout_s)
        if refused is not None:
            raise refused
        return answer

    async def link(self, directory: str) -> Link:
        if "/attempts/" in directory:
            self._nodes.note("connect")
        elif not self._arming:
            self._nodes.note("adopt")
        self._arming = False
        await self._reach("no connection", None)
        return Link(self._nodes.connect(directory), self.node.name)

    async def _reach(self, otherwise: str, timeout_s: float | None) -> None:
        nodes = self._nodes
        await asyncio.sleep(nodes.delay())
        up = nodes.world.source_up if self.node.name == "head" else nodes.world.target_up
        if up and nodes.out_of_reach.get(self.node.name, 0.0) <= nodes.now() and not nodes.unlucky():
            return
        longest = nodes.random.choice((0.0, 1.0, timeout_s or self._verb_s))  # refused, or in silence
        await asyncio.sleep(nodes.random.uniform(0.0, longest))
        nodes.tell(f"    {otherwise}")
        raise NodeUnreachable(f"{self.node.name}: {otherwise}")


class ModelBackend:
    """A backend that may start what it was given at any time, once or more often."""

    name = "model"

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def submit(self, submission: Submission) -> str:
        self._nodes.note("submit")
        await self._answer()
        self._nodes.submit(submission)
        await self._answer()
        return submission.id

    async def status(self, submission_id: str) -> SubmissionStatus:
        await self._answer()
        number = self._nodes.number_of(submission_id)
        attempt = self._nodes.world.attempts[number]
        over = attempt.capsule == "claimed" and not attempt.up
        state = SubmissionState.FAILED if over else SubmissionState.RUNNING
        if not self._nodes.calm and self._nodes.random.random() < 0.005:
            state = self._nodes.random.choice(list(SubmissionState))
        return SubmissionStatus(state)

    async def stop(self, submission_id: str) -> None:
        """What it has not started it may start even so."""
        del submission_id
        await self._answer()

    async def alive_nodes(self) -> frozenset[str]:
        await self._answer()
        lost = not self._nodes.calm and self._nodes.random.random() < 0.5  # only asked while it waits
        return frozenset() if lost else frozenset({"worker"})

    async def close(self) -> None:
        """Nothing is open."""

    async def _answer(self) -> None:
        await asyncio.sleep(self._nodes.delay())
        if self._nodes.unlucky():
            raise BackendError("it does not answer")


__all__ = ["KEEPALIVE_S", "SLOT_S", "ModelAgent", "ModelBackend", "Nodes"]
