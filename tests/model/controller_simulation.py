"""The real controller over the model's nodes, in virtual time, from one seed.

A seed draws what goes wrong, and when: at moments of the virtual time, or as soon as the journal reaches some state.
Then there is calm: nothing more goes wrong, and within CALM_S all has to be well.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _model import faults
from _model.world import FROZEN, executing
from model_nodes import KEEPALIVE_S, SLOT_S, ModelAgent, ModelBackend, Nodes
from virtual_time import VirtualClock, VirtualLoop

from offloader.adapters.capsules import CapsuleFiles
from offloader.adapters.journal import Journal
from offloader.errors import JournalError, NodeUnreachable, NotFound, Refused
from offloader.jobs.ids import UlidFactory
from offloader.model import (
    Attempt,
    AttemptState,
    Candidate,
    Capacity,
    Identity,
    JobState,
    Move,
    MoveState,
    Process,
    Reason,
    StrategyName,
)
from offloader.moves.mover import Mover
from offloader.moves.plan import MovePlan, Timings
from offloader.moves.preflight import Findings
from offloader.moves.tools import Place, Tools
from offloader.strategies import STRATEGIES

__all__ = ["CALM_S", "Told", "simulate"]

CALM_S = 100.0
"""60 s (safety.md, Hand-off 10), and pauses between tries to start again that a storm before has lengthened."""

STAYS_S = 40.0
"""What is well has to stay so."""

RECORDS = {
    AttemptState.RUNNING: "running",
    AttemptState.UNKNOWN: "unknown",
    AttemptState.ENDED: "over",
}
BY_THE_MODEL = (
    "the controller is killed",
    "the connection breaks",
    "guard and keeper are killed",
    "the original ends",
    "the original is killed while frozen",
    "the target dies",
    "the head dies",
    "launcher",
)
"""Faults of `_model.faults`, by how their names begin."""

OF_OUR_OWN = (
    "no way to the target",
    "no way to the head",
    "the guard's connection hangs",
    "cancel",
    "kill-switch",
    "disk full",
)
HANGS = "the guard's connection hangs"
STOPS = (
    "kill-switch", "cancel", "the connection breaks", "launcher", "guard and keeper are killed",
    "the controller is killed", "the controller is killed", "the guard's connection hangs", "no way to the head",
)  # fmt: skip
EARLY = (
    "planned",
    "preflighted",
    "reserved",
    "queued",
    "held",
    "frozen",
    "saved",
    "guard hears freeze",
    "guard hears record",
)
LATE = (
    *("go", "proven", "owning", "owned", "ended", "done", "rolling_back"),
    *("attempt running", "attempt placed", "attempt unknown"),
    *("go", "successor executes", "successor writes to a file of the original", "launcher hears own"),
    *("successor executes", "successor executes", "successor executes", "launcher hears own"),
    *(f"guard hears {do}" for do in ("hold", "unhold", "unhold", "thaw", "end")),
)
"""Of the journal, and of the nodes."""
WRITES = ("create", "save_job", "save_attempt", "settle", "transition", "set_fact", "reserve", "release", "prune")


@dataclass
class Told:
    """How a simulation ended. `wrong`: what must not be; empty if all is well."""

    seed: int
    wrong: str = ""
    end: str = ""
    story: list[str] = field(default_factory=list)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    virtual_s: float = 0.0

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}: {self.wrong or self.end}", *self.story])


@dataclass
class _Trouble:
    """One thing that goes wrong: once, at that time or `t` seconds after the journal is there."""

    kind: str
    t: float
    when: str = ""


class _Disk:
    """The journal, or the full disk in its place."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.full = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.journal, name)
        if name not in WRITES:
            return real

        def write(*arguments: Any, **more: Any) -> Any:
            if self.full:
                raise JournalError("the disk is full")
            return real(*arguments, **more)

        return write


class _Preflight:
    """Nothing is in the way; it may not be possible to ask."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    async def best(self, plan: MovePlan, move: Move) -> tuple[MovePlan, Findings]:
        del move
        return plan, await self._found()

    async def arrived(self, plan: MovePlan, move: Move, found: Findings) -> tuple[()]:
        del plan, move, found
        return ()

    async def again(self, capsule: dict[str, Any], source: str, target: str, *, backend: str) -> Findings:
        del capsule, source, target, backend
        return await self._found()

    async def _found(self) -> Findings:
        await asyncio.sleep(self._nodes.delay())
        if self._nodes.unlucky():
            raise NodeUnreachable("preflight is not answered")
        return Findings({"argv": ["c2xlZXA="], "cwd": "Lw==", "environ": []})


def simulate(seed: int, root: Path) -> Told:
    """One job's move, and what follows, until all is well or something is wrong."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_Simulation(seed, root, loop).run())
    finally:
        loop.run_until_complete(loop.all_others_end())
        loop.close()


class _Simulation:
    def __init__(self, seed: int, root: Path, loop: VirtualLoop) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.loop = loop
        self.root = root
        self.clock = VirtualClock(loop)
        self.nodes = Nodes(self.random, loop.time, self.context, self.on_moment)
        self.nodes.settling = self.random.choice((1.0, 5.0, 25.0))
        self.restart_safe = self.random.random() < 0.7
        self.forbidden: list[tuple[Reason, str]] = []
        self.waiting = self._troubles()
        self.calm_from = self.random.uniform(20.0, 150.0)
        self.move: Move | None = None
        self.where = ""
        self.up_again: dict[str, float] = {}
        self.killed_original = False
        loop.set_exception_handler(self._fault_of_ours)

    def _troubles(self) -> list[_Trouble]:
        """A storm; or one thing at one moment: while a node is out of reach, or while nothing can be written down."""
        moment = self._moment()
        match self.random.choice("SSRRRRRRDDG"):
            case "S":
                self.nodes.noise = self.random.choice((0.0, 0.01, 0.03, 0.1))
                kinds = self.random.sample((*BY_THE_MODEL, *OF_OUR_OWN), self.random.randint(1, 6))
                many = self.random.choice((0, 1, 2, 3, 5, 8))
                return [_Trouble(self.random.choice(kinds), self._soon(), self._moment()) for _ in range(many)]
            case "R":
                away = self.random.choice(("no way to the target", "no way to the target", "no way to the head", HANGS))
                stop = _Trouble(self.random.choice(STOPS), self._soon(), moment)
                later = _Trouble(self.random.choice((*BY_THE_MODEL, *OF_OUR_OWN)), self._soon(), self._moment())
                return [_Trouble(away, 0.0, moment), stop, *([later] if self.random.random() < 0.3 else [])]
            case "G":  # the successor gives up before it owns, and the guard is out of reach when it is told so
                gives_up = _Trouble("no way to the target", 0.0, self.random.choice(("proven", "owning")))
                return [gives_up, _Trouble("no way to the head", 0.0, "guard hears unhold")]
            case _:
                cut = self.random.choice(("launcher", "the connection breaks"))
                stops = ("kill-switch", self.random.choice(STOPS), cut)
                if self.random.random() < 0.5:
                    moment = self.random.choice((*EARLY, "go", "proven", "owning"))
                return [_Trouble(kind, 0.0, moment) for kind in ("disk full", *stops[self.random.randrange(2) :])]

    def _soon(self) -> float:
        return self.random.choice((0.0, 0.2, 1.0, 5.0)) * self.random.random()

    def _moment(self) -> str:
        return self.random.choice(LATE if self.random.random() < 0.85 else EARLY)

    # The controller

    def context(self) -> str:
        """Where its journal is: the move's state, after its end that of the newest attempt."""
        if self.move is None:
            return "planned"
        move = self.disk.journal.move(self.move.id)
        assert move is not None
        if not move.state.final:
            return move.state.value
        return f"attempt {_record(self.disk.journal.attempts(move.job)[-1])}"

    def start_controller(self) -> None:
        self.disk = _Disk(Journal(self.root / "state", spare_bytes=4096))
        timings = Timings()
        agents: Any = {name: ModelAgent(self.nodes, name, timings.verb_s) for name in ("head", "worker")}
        store: Any = self.disk
        tools = Tools(
            store=store,
            clock=self.clock,
            agents=agents,
            backends={"model": ModelBackend(self.nodes)},
            strategies={strategy.name: strategy for strategy in STRATEGIES},
            preflight=_Preflight(self.nodes),  # type: ignore[arg-type]
            head="head",
            capsules=CapsuleFiles(self.root / "capsules"),
            forbidden=lambda _move: self.forbidden[0] if self.forbidden else None,
            timings=timings,
            placer=lambda *_, **__: Place("worker", Capacity(cores=64, memory_bytes=1 << 40)),
            on_transition=self.on_transition,
            on_incident=lambda incident: self.nodes.tell(f"  incident: {incident.kind}: {incident.detail}"),
        )
        self.mover = Mover(tools, new_id=UlidFactory(self.clock.time, self.random.randbytes))
        self.nodes.world = self.nodes.world._replace(at="")

    def on_transition(self, move: Move, before: MoveState) -> None:
        """What is to go wrong at once, before the controller does anything in the new state."""
        self.nodes.tell(f"  journal: {before} → {move.state} {move.reason or ''}")
        self.on_moment(move.state)

    def on_moment(self, moment: str) -> None:
        for one in tuple(self.waiting):
            if one.when == moment:
                one.t, one.when = self.loop.time() + one.t, ""
                if one.t <= self.loop.time() and one.kind in AT_ONCE:
                    self.waiting.remove(one)
                    AT_ONCE[one.kind](self)

    def disk_is_full(self) -> None:
        self.disk.full = True
        self.nodes.tell("the disk is full")
        self.loop.call_later(self.random.uniform(0.0, 30.0), setattr, self.disk, "full", False)

    def no_way_to_the_target(self) -> None:
        self.no_way("worker")
        self.nodes.cut_launcher(self._late())

    def no_way_to_the_head(self) -> None:
        self.no_way("head")
        self.nodes.cut_guard(self._late())

    def guard_hangs(self) -> None:
        self.nodes.tell(HANGS)
        self.nodes.cut_guard(self._late())

    def no_way(self, node: str) -> None:
        self.nodes.tell(f"no way to {node}")
        seconds = self.random.choice((5.0, 30.0, 90.0)) * self.random.random()
        self.nodes.out_of_reach[node] = self.loop.time() + seconds

    def _late(self) -> float:
        """After how long it is noticed that a connection is broken."""
        return self.random.choice((0.0, KEEPALIVE_S * self.random.random()))

    def forbid(self) -> None:
        self.nodes.tell("kill-switch")
        self.forbidden.append((Reason.KILL_SWITCH, "the file is there"))

    async def kill_controller(self) -> None:
        """As with SIGKILL: nothing that it may still do on its way out reaches anybody."""
        nodes = self.nodes
        nodes.life += 1
        nodes.cut_launcher()
        nodes.cut_guard()
        await self.loop.all_others_end()
        self.disk.journal.close()
        self.up_again["controller"] = (
            self.loop.time() + self.random.choice((0.0, 1.0, 5.0, 20.0, 60.0)) * self.random.random()
        )

    async def restart_controller(self) -> None:
        self.nodes.tell("the controller starts")
        self.start_controller()
        await self.mover.recover()

    def _fault_of_ours(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.nodes.broken = self.nodes.broken or f"{context['message']}: {error!r}"

    # What goes wrong

    async def trouble(self) -> None:
        now = self.loop.time()
        for one in tuple(self.waiting):
            if not one.when and one.t <= now:
                self.waiting.remove(one)
                await self.happens(one.kind)

    async def happens(self, kind: str) -> None:
        nodes = self.nodes
        match kind:
            case "no way to the target" | "no way to the head":
                AT_ONCE[kind](self)
            case "the guard's connection hangs":
                self.guard_hangs()
            case "cancel" if nodes.world.at != "down" and self.move is not None:
                nodes.tell("cancel")
                with contextlib.suppress(Refused, NotFound):
                    await self.mover.cancel(self.move.id, by_uid=0)
            case "kill-switch":
                self.forbid()
                if nodes.world.at != "down":
                    await self.mover.stop_all("the file is there")
            case "disk full" if nodes.world.at != "down":
                self.disk_is_full()
            case _:
                await self.by_the_model(kind)

    async def by_the_model(self, kind: str) -> None:
        world = self.nodes.world
        may = [one for one in faults.steps(world, self.nodes.rules) if one[2] and one[0].startswith(kind)]
        if not may:
            return
        what, after, _ = self.random.choice(may)
        self.nodes.tell(f"FAULT: {what}")
        match what:
            case "the connection breaks":
                self.nodes.cut_launcher(self._late())
                return
            case "the controller is killed":
                await self.kill_controller()
                after = self.nodes.world._replace(at="down")
            case "the head dies":
                await self.kill_controller() if world.at != "down" else None
                after = next(a for w, a, _ in faults.steps(self.nodes.world, self.nodes.rules) if w == what)
                self.up_again["head"] = self.loop.time() + self.random.uniform(1.0, 60.0)
                self.killed_original |= world.original != "end"
            case "the target dies":
                self.nodes.cut_launcher(self._late())
                after = next(a for w, a, _ in faults.steps(self.nodes.world, self.nodes.rules) if w == what)
                self.up_again["target"] = self.loop.time() + self.random.uniform(1.0, 60.0)
            case "the original ends" | "the original is killed while frozen":
                self.killed_original = True
        self.nodes.becomes(after, what)

    async def mended(self, *, at_once: bool = False) -> None:
        """Nodes and controller start again."""
        now = float("inf") if at_once else self.loop.time()
        world = self.nodes.world
        if not world.target_up and self.up_again.get("target", 0.0) <= now:
            self.nodes.becomes(world._replace(target_up=True), "the target starts")
        if not self.nodes.world.source_up and self.up_again.get("head", 0.0) <= now:
            self.nodes.becomes(self.nodes.world._replace(source_up=True), "the head starts")
        if self.nodes.world.source_up and self.nodes.world.at == "down" and self.up_again.get("controller", 0.0) <= now:
            await self.restart_controller()

    async def calm(self) -> None:
        self.nodes.calm = True
        self.nodes.out_of_reach.clear()
        self.waiting.clear()
        self.forbidden.clear()
        self.disk.full = False
        self.nodes.tell("CALM")
        await self.mended(at_once=True)

    # The course of it

    async def run(self) -> Told:
        told = Told(self.seed, story=self.nodes.story, pairs=self.nodes.pairs)
        self.start_controller()
        self.move = await self.mover.start(_plan(restart_safe=self.restart_safe))
        self.on_moment("planned")
        told.wrong = await self._until_well()
        told.end = self._how() if not told.wrong else ""
        told.virtual_s = self.loop.time()
        if self.nodes.world.at != "down":
            self.nodes.life += 1
            self.disk.journal.close()
        return told

    async def _until_well(self) -> str:
        slot, well_since = SLOT_S * self.random.random(), None
        while not self.nodes.broken:
            await asyncio.sleep(self.random.uniform(0.02, 0.5))
            while self.loop.time() >= slot:
                slot += SLOT_S
                self.nodes.passes()
            self.nodes.step()
            if not self.nodes.calm:
                await self._goes_wrong()
                continue
            now, amiss = self.loop.time(), self._amiss()
            if amiss:
                well_since = None
            elif well_since is None:
                well_since = now
            elif now - well_since > STAYS_S:
                return ""
            if amiss and now > self.calm_from + CALM_S:
                return f"{CALM_S:.0f} s after the last fault: {amiss}"
        return self.nodes.broken

    async def _goes_wrong(self) -> None:
        if self.nodes.world.at != "down":
            self._look_at_the_attempt()
        await self.trouble()
        await self.mended()
        if self.loop.time() >= self.calm_from:
            await self.calm()

    def _look_at_the_attempt(self) -> None:
        """After the end of the move: nobody tells us of an attempt's state in the journal."""
        where = self.context()
        if where != self.where and where.startswith("attempt "):
            self.on_moment(where)
        self.where = where

    def _amiss(self) -> str:
        """What is not well yet."""
        world, store = self.nodes.world, self.disk.journal
        assert self.move is not None
        move = store.move(self.move.id)
        assert move is not None
        job = store.job(move.job)
        assert job is not None
        if not move.state.final:
            return f"the move is {move.state}"
        if world.guard in FROZEN or world.original in ("ice", "doomed"):
            return f"the guard is {world.guard}, the original {world.original}"
        followed = any(one.id == job.id for one in store.followed_jobs())
        newest = store.attempts(job.id)[-1]
        if followed:
            runs = job.state is JobState.RUNNING and newest.state is AttemptState.RUNNING
            if not runs or newest.epoch != len(world.attempts) or not world.attempt.child or executing(world) != 1:
                which = f"its attempt {newest.epoch} {newest.state}"
                return f"the job is {job.state}, {which}, {executing(world)} copies execute"
        elif job.state is JobState.UNKNOWN:
            if executing(world) != (world.original == "run") or (world.original == "end" and not self.killed_original):
                return f"it should run at its source: {world.original}, {executing(world)} copies execute"
        elif executing(world):
            return f"the job is {job.state}, and {executing(world)} copies execute"
        return ""

    def _how(self) -> str:
        store = self.disk.journal
        assert self.move is not None
        move = store.move(self.move.id)
        assert move is not None
        job = store.job(move.job)
        assert job is not None
        tried = len(store.attempts(job.id)) - 1
        return f"{move.state}, the job {job.state}, attempts {tried}, original {self.nodes.world.original}"


AT_ONCE: dict[str, Callable[[_Simulation], None]] = {
    "disk full": _Simulation.disk_is_full,
    "kill-switch": _Simulation.forbid,
    "no way to the target": _Simulation.no_way_to_the_target,
    "no way to the head": _Simulation.no_way_to_the_head,
    HANGS: _Simulation.guard_hangs,
}


def _record(attempt: Attempt) -> str:
    if attempt.state is AttemptState.PENDING:
        return "placed" if attempt.node else "pending"
    return RECORDS[attempt.state]


def _plan(*, restart_safe: bool) -> MovePlan:
    identity = Identity("boot", 4711, 1, 1000, 1, 1)
    process = Process(
        identity=identity, ppid=1, pgid=4711, sid=4711, tty_nr=0, state="R", comm="sleep", user="anna",
        argv=(b"sleep",), age_s=60.0,
    )  # fmt: skip
    need = Capacity(cores=1, memory_bytes=1 << 20)
    candidate = Candidate(process, (process,), "head", need, need, age_s=60.0, restart_safe=restart_safe)
    return MovePlan(
        candidate=candidate,
        target="worker",
        strategy=StrategyName.RESTART,
        rule=None,
        automatic=False,
        requested_by=1000,
        available=Capacity(cores=64, memory_bytes=1 << 40),
        backend="model",
    )
