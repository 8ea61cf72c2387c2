"""A controller with everything real but Prometheus, /proc and the mover."""

import base64
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from offloader.adapters.journal.journal import Journal
from offloader.config.models import Cluster
from offloader.daemon.actuators import RecordingActuator
from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.controller import Controller, Parts
from offloader.daemon.decisions import DecisionLog
from offloader.daemon.desk import Desk
from offloader.daemon.incidents import IncidentLog
from offloader.daemon.keeps import Keeps
from offloader.daemon.problems import Trouble
from offloader.daemon.quarantine import Quarantine
from offloader.daemon.setup import Setup
from offloader.daemon.snapshot import Observer
from offloader.daemon.ticker import Ticker
from offloader.daemon.toggles import Switches
from offloader.jobs.events import EventKind
from offloader.model import (
    Attempt,
    AttemptState,
    Capacity,
    Identity,
    Job,
    Mode,
    Move,
    NodeView,
    Obstacle,
    Policy,
    Process,
    ProcessClass,
    Reading,
    Reason,
    Resource,
    Role,
    Rule,
    RuleSelect,
    StrategyName,
)
from offloader.moves.preflight import Findings

OWN = os.geteuid()
USER = 4321
ROOT, ALICE, BOB = (Caller(1, uid, uid, frozenset()) for uid in (0, USER, USER + 1))
RULE = Rule("g", "cpu", "x", Resource.CPU, 0.8, 0.65, 0.0, cooldown_s=5.0, select=RuleSelect(min_age_s=0.0))


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


CAPTURE = {
    "environ": [base64.b64encode(entry).decode() for entry in (b"HOME=/h", b"SSH_TTY=/dev/pts/7", b"KEY=secret-value")],
    "stdio": {"0": {"kind": "tty"}, "1": {"kind": "file"}, "2": {"kind": "closed"}},
}


async def examine(plan: Any, move: Move) -> tuple[Any, Findings]:
    """A preflight for which no node is asked."""
    assert (plan.target, move.state) == (move.target, "planned")
    in_the_way = (Obstacle(Reason.NO_FILE, "it reads /data, which is not there", "share it"),)
    streams = {"0": "null", "1": "file"}
    return plan, Findings(CAPTURE, in_the_way if plan.env else (), ("a note",), ((1, 2),), streams)


class FakeMover(RecordingActuator):
    """Journals what it is given, as the mover does, and remembers every order."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        super().__init__(clock.time, examine)
        self.journal = journal
        self.orders: list[str] = []
        self.failure: Exception | None = None
        self.too_late = False

    async def start(self, plan: Any) -> Move:
        if self.failure is not None:
            raise self.failure
        move = await super().start(plan)
        leader = plan.candidate.leader
        job = Job(f"job{leader.pid}", leader.user, leader.identity.uid, leader.comm, move.created_t)
        here = Attempt(job.id, 0, move.source, "local", None, leader.pid, AttemptState.RUNNING, 0.0)
        move = Move(**{name: getattr(move, name) for name in Move.__slots__} | {"job": job.id})
        self.journal.create(job, (here,), move)
        return move

    async def withdraw(self, move_id: str, reason: Reason, detail: str, *, untouched: bool = False) -> bool:
        self.orders.append(f"withdraw {move_id} {reason}: {detail}{' if untouched' if untouched else ''}")
        return not self.too_late

    async def disable(self, ceiling: Mode) -> None:
        self.orders.append(f"disable {ceiling}")

    async def stop_all(self, detail: str) -> None:
        self.orders.append(f"stop_all {detail}")

    async def cancel(self, move_id: str, *, by_uid: int) -> Move:
        self.orders.append(f"cancel {move_id} {by_uid}")
        move = self.journal.move(move_id)
        assert move is not None
        return move


def process(pid: int, cores: float, uid: int = USER) -> Process:
    return Process(
        identity=Identity("boot", pid, pid * 10, uid, 1, 2),
        ppid=1,
        pgid=pid,
        sid=pid,
        tty_nr=0,
        state="R",
        comm="train.py",
        user="alice",
        argv=(b"/usr/bin/python3", b"/home/alice/secret-plan/train.py"),
        exe="/usr/bin/python3",
        cwd="/home/alice",
        cgroup="/user.slice/x.scope",
        process_class=ProcessClass.TRAINING,
        age_s=300.0,
        cpu_cores=cores,
        rss_bytes=1 << 30,
        wish="allow",
    )


class World:
    """Everything around one controller."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.pressure = 0.95
        self.processes = {100: process(100, 4.0)}
        self.detailed = 0
        self.journal = Journal(folder / "state", spare_bytes=1 << 16)
        self.switches = Switches(self.journal, folder)
        self.mover = FakeMover(self.clock, self.journal)
        self.recorder = RecordingActuator(self.clock.time, examine)
        self.setup = Setup(
            folder / "cluster.yaml",
            Cluster.model_validate(
                {
                    "cluster": "test",
                    "nodes": (
                        {"name": "head", "role": "head", "address": "127.0.0.1"},
                        {"name": "gpu1", "role": "worker", "address": "127.0.0.2"},
                    ),
                }
            ),
            (RULE,),
            Policy(head="head", own_uid=OWN, multi_user=True, initial_cooldown_s=0.0, notice_s=0.0),
        )
        self.controller = self.make()
        self.ticker = Ticker(self.controller.tick, self.clock, lambda: 5.0)
        self.desk = self.desk_of(Permissions(OWN))

    def desk_of(self, permissions: Permissions) -> Desk:
        self.nudge = Nudge(self.controller)
        return Desk(self.controller, self.nudge, permissions, lambda: Trouble(self.ticker.beat), self._reload)

    def make(self) -> Controller:
        keeps = Keeps(self.journal, self.clock.time)
        decisions = DecisionLog(self.journal)
        incidents = IncidentLog(self.journal, decisions, Quarantine(self.journal), self.clock.time, lambda: 3600.0)
        parts = Parts(
            store=self.journal,
            clock=self.clock,
            observer=Observer(self.measure, self.read, self.journal, keeps.until),
            switches=self.switches,
            keeps=keeps,
            decisions=decisions,
            incidents=incidents,
            acting=self.mover,
            recording=self.recorder,
            strategies=lambda: (StrategyName.RESTART,),
            rehearse=self.recorder.rehearse,
        )
        return Controller(self.setup, parts)

    async def _reload(self, by: str) -> dict[str, Any]:
        return {"by": by}

    def read(self, detail: bool) -> dict[int, Process]:
        self.detailed += detail
        return self.processes

    async def measure(self, rules: tuple[Rule, ...], roles: dict[str, Role], **_: Any) -> Any:
        total = Capacity(8.0, 32 << 30)

        def node(name: str, role: Role, cpu: float) -> NodeView:
            pressure = {Resource.CPU: Reading(name, cpu, 1.0), Resource.MEMORY: Reading(name, 0.2, 1.0)}
            offer = Capacity(7.0, 28 << 30) if role is Role.WORKER else None
            return NodeView(name, role, up=True, total=total, offer=offer, pressure=pressure)

        return SimpleNamespace(
            values={(rule.key, "head"): Reading("head", self.pressure, 1.0) for rule in rules},
            whens={},
            nodes={name: node(name, role, self.pressure if role is Role.HEAD else 0.1) for name, role in roles.items()},
            ages_s=dict.fromkeys(roles, 1.0),
            memory_stalls={"head": None},
        )

    def messages(self, kind: EventKind) -> list[str]:
        return [event.message for event in self.journal.events() if event.kind is kind]


class Nudge:
    """A tick at once; while `late`, one that does not end in time."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.late = False

    async def now(self, *, timeout_s: float = 10.0) -> bool:
        if self.late:
            return False
        await self._controller.tick()
        return timeout_s > 0


def with_notice(world: World, seconds: float = 60.0) -> None:
    """The same controller, one that gives notice."""
    policy = Policy(head="head", own_uid=OWN, multi_user=True, initial_cooldown_s=0.0, notice_s=seconds)
    world.setup = replace(world.setup, policy=policy)
    world.controller.setup = world.setup
    world.switches.enable(Mode.AUTO)


async def ticks(world: World, controller: Controller, count: int, step_s: float = 5.0) -> None:
    for _ in range(count):
        world.clock.now += step_s
        await controller.tick()
