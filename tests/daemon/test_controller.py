"""One tick with everything real but Prometheus, /proc and the mover: what is acted on, what only recorded."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from offloader.adapters.journal.journal import Journal
from offloader.config.models import Cluster
from offloader.daemon.actuators import RecordingActuator
from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import AutoRequest, MoveRequest
from offloader.daemon.controller import Controller, Parts
from offloader.daemon.decisions import DecisionLog
from offloader.daemon.desk import Desk
from offloader.daemon.problems import Trouble
from offloader.daemon.setup import Setup
from offloader.daemon.snapshot import Observer
from offloader.daemon.ticker import Ticker
from offloader.daemon.toggles import Switches
from offloader.errors import JournalError, NotFound, NotPermitted, Refused
from offloader.jobs.events import EventKind
from offloader.model import (
    Attempt,
    AttemptState,
    Capacity,
    Identity,
    Job,
    Mode,
    Move,
    MoveState,
    NodeView,
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


class FakeMover(RecordingActuator):
    """Journals what it is given, as the mover does, and remembers every order."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        super().__init__(clock.time)
        self.journal = journal
        self.orders: list[str] = []
        self.failure: Exception | None = None

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

    async def disable(self) -> None:
        self.orders.append("disable")

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
        self.recorder = RecordingActuator(self.clock.time)
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
            Policy(head="head", own_uid=OWN, multi_user=True, initial_cooldown_s=0.0),
        )
        self.controller = self.make()
        self.ticker = Ticker(self.controller.tick, self.clock, lambda: 5.0)
        self.desk = Desk(
            self.controller, _Nudge(self.controller), Permissions(OWN), lambda: Trouble(self.ticker.beat), self._reload
        )

    def make(self) -> Controller:
        parts = Parts(
            store=self.journal,
            clock=self.clock,
            observer=Observer(self.measure, self.read, self.journal),
            switches=self.switches,
            decisions=DecisionLog(self.journal),
            acting=self.mover,
            recording=self.recorder,
            strategies=(StrategyName.RESTART,),
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
        )

    def messages(self, kind: EventKind) -> list[str]:
        return [event.message for event in self.journal.events() if event.kind is kind]


class _Nudge:
    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def now(self, *, timeout_s: float = 10.0) -> bool:
        await self._controller.tick()
        return timeout_s > 0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.journal.close()


async def test_in_mode_auto_the_choice_is_given_to_the_mover(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [asked] = world.mover.plans
    assert (asked.candidate.leader.pid, asked.target, asked.automatic) == (100, "gpu1", True)
    assert asked.available == Capacity(7.0, 28 << 30)
    assert list(world.recorder.plans) == []
    assert any("offload_1700000000_100 begins" in message for message in world.messages(EventKind.MOVE))


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ADVISE, Mode.APPROVE])
async def test_below_auto_it_is_only_recorded(world: World, mode: Mode) -> None:
    world.switches.enable(mode)
    await world.controller.tick()
    assert list(world.mover.plans) == []
    assert [asked.target for asked in world.recorder.plans] == ["gpu1"]


async def test_processes_are_read_in_detail_only_when_a_rule_fired(world: World) -> None:
    world.pressure = 0.3
    await world.controller.tick()
    assert world.detailed == 0
    world.pressure = 0.95
    await world.controller.tick()
    assert world.detailed == 1


async def test_a_switch_thrown_between_decision_and_act_is_obeyed(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    world.controller.on_tick(lambda _: world.switches.disable())
    await world.controller.tick()
    assert list(world.mover.plans) == []


async def test_the_kill_switch_stops_what_is_in_flight_once(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    world.switches.kill_switch_path.touch()
    await world.controller.tick()
    await world.controller.tick()
    assert [order.split()[0] for order in world.mover.orders] == ["stop_all"]
    assert list(world.mover.plans) == []
    world.switches.kill_switch_path.unlink()
    await world.controller.tick()
    assert world.messages(EventKind.TOGGLE)[-1] == "the kill-switch is off"


async def test_a_start_that_fails_is_told_and_the_next_tick_goes_on(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    for failure in (Refused(Reason.TARGET_FULL, "full"), JournalError("disk full")):
        world.mover.failure = failure
        await world.controller.tick()
    assert [message for message in world.messages(EventKind.DECISION) if "not started" in message] == [
        "g/cpu: not started: full",
        "g/cpu: not started: disk full",
    ]
    world.mover.failure = None
    await world.controller.tick()
    assert len(world.mover.plans) == 1


async def test_after_a_move_the_rule_cools_down_also_across_a_restart(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [move] = world.journal.moves(active=True)
    world.journal.transition(move.id, MoveState.ROLLING_BACK, t=world.clock.now, reason=Reason.LINK_LOST)
    ended = world.journal.transition(move.id, MoveState.ROLLED_BACK, t=world.clock.now)
    world.controller.finished(ended)
    again = world.make()
    world.clock.now += 1.0
    await again.tick()
    assert again.view is not None
    assert again.view.decisions[0].reason in (Reason.COOLDOWN, Reason.LOOK_BACK)
    assert len(world.mover.plans) == 1


async def test_a_frozen_job_still_counts_as_load(world: World) -> None:
    """Freezing must not look like relief."""
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [move] = world.journal.moves(active=True)
    for state in (MoveState.PREFLIGHTED, MoveState.RESERVED, MoveState.QUEUED, MoveState.HELD, MoveState.FROZEN):
        world.journal.transition(move.id, state, t=world.clock.now)
    world.pressure = 0.45
    await world.controller.tick()
    assert world.controller.view is not None
    assert world.controller.view.snapshot.frozen_load == {Resource.CPU: 0.5}
    assert world.controller.view.decisions[0].value == pytest.approx(0.95)


async def test_disabling_rolls_back_even_when_the_journal_is_full(world: World, monkeypatch) -> None:
    await world.desk.auto(ROOT, AutoRequest(enabled=True))

    def full(*_: object) -> None:
        raise JournalError("disk full")

    monkeypatch.setattr(world.journal, "set_setting", full)
    with pytest.raises(JournalError):
        await world.desk.auto(ROOT, AutoRequest(enabled=False))
    assert world.mover.orders == ["disable"]
    assert world.switches.read().ceiling is Mode.OBSERVE


async def test_a_lower_ceiling_rolls_automatic_moves_back_too(world: World) -> None:
    await world.desk.auto(ROOT, AutoRequest(enabled=True, mode=Mode.ADVISE))
    assert world.mover.orders == ["disable"]


async def test_only_admins_switch(world: World) -> None:
    with pytest.raises(NotPermitted):
        await world.desk.auto(ALICE, AutoRequest(enabled=True))
    with pytest.raises(NotPermitted):
        world.desk.may_reload(ALICE)
    assert world.switches.read().ceiling is Mode.OBSERVE


async def test_the_owner_moves_his_own_and_nobody_else_does(world: World) -> None:
    with pytest.raises(NotPermitted) as caught:
        await world.desk.move(BOB, MoveRequest(100))
    assert caught.value.reason is Reason.NOT_YOURS
    document = await world.desk.move(ALICE, MoveRequest(100, "gpu1"))
    assert document["state"] == "planned"
    assert document["loses_s"] == 300.0
    [asked] = world.mover.plans
    assert (asked.automatic, asked.requested_by, asked.rule) == (False, USER, None)
    with pytest.raises(Refused) as twice:
        await world.desk.move(ALICE, MoveRequest(100))
    assert twice.value.reason is Reason.ALREADY_MOVING


async def test_what_is_private_stays_with_owner_and_admins(world: World) -> None:
    move = await world.desk.move(ALICE, MoveRequest(100))
    await world.controller.tick()
    seen = {
        caller.uid: str([await world.desk.scan(caller, (), True), await world.desk.status(caller)])
        for caller in (ROOT, ALICE, BOB)
    }
    assert "secret-plan" in seen[0]
    assert "secret-plan" in seen[USER]
    assert "secret-plan" not in seen[BOB.uid]
    assert "considered" not in str(await world.desk.events(BOB, 0, 100))
    for forbidden in (world.desk.logs(BOB, move["id"], 0, follow=False), world.desk.cancel(BOB, move["id"])):
        with pytest.raises(NotPermitted):
            await forbidden
    assert world.mover.orders == []
    await world.desk.cancel(ALICE, move["id"])
    assert world.mover.orders == [f"cancel {move['id']} {USER}"]


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    for asked in (world.desk.show(ROOT, "offload_1_2"), world.desk.cancel(ROOT, "offload_1_2")):
        with pytest.raises(NotFound):
            await asked
    with pytest.raises(NotFound):
        await world.desk.scan(ROOT, ("nowhere",), False)


async def test_a_recorder_moves_nothing_and_says_so(world: World) -> None:
    with pytest.raises(NotFound):
        await world.recorder.cancel("offload_1_2", by_uid=0)
    with pytest.raises(NotFound):
        world.recorder.logs("offload_1_2", offset=0, follow=False)
