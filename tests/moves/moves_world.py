"""A head and two workers that are all this machine: real launchers and processes, real journal, a backend in memory.

Copies are counted by a witness to which the load reports while it executes, never by our own status.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _testbed.witness import SO_TIMESTAMPNS, parse
from _testbed.witness_report import report

from exporter.procfs.process import Procfs
from offloader.adapters.capsules import CapsuleFiles
from offloader.adapters.clock import SystemClock
from offloader.adapters.commands import LocalHost
from offloader.adapters.journal import Journal
from offloader.adapters.newcomers import NewcomerSource
from offloader.backends.fake import FakeBackend
from offloader.daemon.actuators import RecordingActuator
from offloader.jobs.ids import UlidFactory
from offloader.model import (
    Attempt,
    AttemptState,
    Candidate,
    Capacity,
    Identity,
    Job,
    JobState,
    Move,
    Obstacle,
    Process,
    Reason,
    StrategyName,
)
from offloader.moves.agent import Agent
from offloader.moves.incidents import Incident
from offloader.moves.likeness import Likeness
from offloader.moves.mover import Mover
from offloader.moves.plan import MoveNode, MovePlan, Timings
from offloader.moves.preflight import Findings, Preflight
from offloader.moves.tools import Place, Tools
from offloader.strategies import STRATEGIES

PROJECT = Path(__file__).resolve().parents[2]
LOAD = PROJECT / "deploy/_testbed/load.py"
CRIU = str(PROJECT / ".cache/criu/criu")
WORKERS = ("worker", "spare")


# A hand-off that is cancelled at its shortest freezes for as long as a successor needs to start Python, give one sign
# of life and be killed: 40 ms on a quick machine. A copy that runs must be told from one that was frozen for that long.
PERIOD_S = 0.015
GAP_S = 0.03


class Witness:
    """Receives the signs of life of every copy; the kernel says when each came, however busy this process is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(16))
            if data == b"end":
                return
            record = parse(data, ancillary)
            assert record is not None, data
            self.records.append(record)

    def report(self) -> dict[str, Any]:
        return report(list(self.records), time.time(), gap=GAP_S)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.sendto(b"end", str(self.path))
        self._thread.join()
        self._socket.close()


@dataclass
class World:
    """Everything that a test of a hand-off touches."""

    root: Path
    witness: Witness
    journal: Journal
    backend: FakeBackend
    hosts: dict[str, LocalHost]
    tools: Tools
    mover: Mover
    forbidden: list[Any] = field(default_factory=list)
    finished: list[Move] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    full: set[str] = field(default_factory=set)  # workers that take nothing
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_load(self, *options: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """The original: a session of its own, its output in a file, reporting to the witness."""
        output = self.root / "load.out"
        command = ["/usr/bin/python3", str(LOAD), "--cpu=0.2", f"--witness={self.witness.path}"]
        command += [f"--period={PERIOD_S}", *options]
        with output.open("ab") as out:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.root,
                env=env,
                start_new_session=True,
            )
        self.children.append(child)
        wait_for(lambda: any(record["pid"] == child.pid for record in self.witness.records), 10)
        return child

    def plan(self, pid: int, **changes: Any) -> MovePlan:
        """A plan to move that process from head to worker."""
        candidate = candidate_of(pid)
        fields: dict[str, Any] = {
            "candidate": candidate,
            "target": "worker",
            "strategy": StrategyName.RESTART,
            "rule": None,
            "automatic": False,
            "requested_by": os.getuid(),
            "available": Capacity(cores=4, memory_bytes=1 << 34),
            "backend": "fake",
        }
        return MovePlan(**{**fields, **changes})

    async def final(self, move: Move, timeout_s: float = 60.0) -> Move:
        """Wait until the move is over."""
        async with asyncio.timeout(timeout_s):
            while not (now := self.journal.move(move.id)).state.final or now.id not in {
                one.id for one in self.finished
            }:
                await asyncio.sleep(0.05)
        return now

    async def reached(self, move: Move, state: str, timeout_s: float = 60.0) -> None:
        """Wait until the move has been in that state."""
        async with asyncio.timeout(timeout_s):
            while state not in [step.state for step in self.journal.timeline(move.id)]:
                await asyncio.sleep(0.01)

    async def over(self, move: Move, timeout_s: float = 60.0) -> Job:
        """Wait until the moved job is over."""
        async with asyncio.timeout(timeout_s):
            while (job := self.journal.job(move.job)).state in (JobState.RUNNING, JobState.UNKNOWN):
                await asyncio.sleep(0.05)
        return job

    async def attempt(self, move: Move, epoch: int, timeout_s: float = 60.0) -> Attempt:
        """Wait until that attempt of the job runs."""
        async with asyncio.timeout(timeout_s):
            while True:
                for one in self.journal.attempts(move.job):
                    if one.epoch == epoch and one.state is AttemptState.RUNNING:
                        return one
                await asyncio.sleep(0.05)

    async def kill_launcher(self, move: Move, attempt: Attempt) -> None:
        """As when Ray on that node dies: the launcher is gone at once, and has no word to say about it."""
        agent = self.tools.agents[attempt.node]
        status = await agent.verb("status", agent.attempt_dir(move.job, attempt.epoch))
        os.kill(status["pid"], signal.SIGKILL)

    def told(self) -> list[str]:
        return [str(incident.kind) for incident in self.incidents]

    def states(self, move: Move) -> list[str]:
        return [str(step.state) for step in self.journal.timeline(move.id)]


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def candidate_of(pid: int) -> Candidate:
    procfs = Procfs()
    facts = procfs.facts(pid)
    assert facts is not None
    boot = procfs.boot_id
    identity = Identity(boot, pid, facts.start_time, facts.uid, facts.exe_device or 0, facts.exe_inode or 0)
    process = Process(
        identity=identity,
        ppid=facts.ppid,
        pgid=facts.pgid,
        sid=facts.sid,
        tty_nr=0,
        state="S",
        comm=facts.comm,
        user="root",
        argv=facts.argv or (),
        age_s=10.0,
    )
    need = Capacity(cores=0.2, memory_bytes=1 << 20)
    return Candidate(process, (process,), "head", need, need, age_s=10.0, restart_safe=True)


async def rehearsed(world: World, plan: MovePlan) -> Findings:
    """As `move --dry-run` does it."""
    _, found = await RecordingActuator(world.tools.clock.time, world.tools.preflight.best).rehearse(plan)
    return found


def build(root: Path, witness: Witness, journal: Journal, backend: FakeBackend) -> World:
    """One life of a controller over directories that outlive it."""
    hosts = {name: LocalHost(name) for name in ("head", *WORKERS)}
    nodes = {name: MoveNode(name, name, sys.executable, str(root / name), CRIU) for name in hosts}
    timings = Timings(
        hold_s=20, retry_s=0.1, reservation_lag_s=0.5, reach_s=1, place_s=0.1, again_s=0.2, respawn_look_s=0.2
    )
    agents = {name: Agent(hosts[name], nodes[name], verb_s=timings.verb_s) for name in hosts}
    forbidden: list[Any] = []
    clock = SystemClock()
    incidents: list[Incident] = []
    full: set[str] = set()

    def placer(
        _source: str, _usage: Capacity, _needs: Capacity, *, avoid: frozenset[str], only: str | None = None
    ) -> Place | Obstacle:
        for node in [only] if only else sorted(WORKERS, key=lambda node: node in avoid):
            if node not in full:
                return Place(node, Capacity(cores=4, memory_bytes=1 << 34))
        return Obstacle(Reason.NO_TARGET, "every worker is full")

    strategies = {strategy.name: strategy for strategy in STRATEGIES}
    tools = Tools(
        store=journal,
        clock=clock,
        agents=agents,
        backends={"fake": backend},
        strategies=strategies,
        preflight=Preflight(agents, strategies, {"fake": backend}, likeness=Likeness(agents, clock)),
        head="head",
        capsules=CapsuleFiles(root / "capsules"),
        forbidden=lambda _move: forbidden[0] if forbidden else None,
        timings=timings,
        placer=placer,
        newcomers=NewcomerSource(),
        on_incident=incidents.append,
    )
    mover = Mover(tools, new_id=UlidFactory(clock.time, os.urandom))
    world = World(root, witness, journal, backend, hosts, tools, mover, forbidden)
    world.incidents, world.full = incidents, full
    mover.on_finished(world.finished.append)
    return world


async def crash_and_restart(world: World, while_away: Callable[[], Awaitable[None]] | None = None) -> World:
    """Every task of the first life ends where it stands, as with SIGKILL: no roll-back, links cut, journal left."""
    tasks = list(world.mover._tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if while_away is not None:
        await while_away()
    world.journal.close()
    again = build(world.root, world.witness, Journal(world.root / "state"), world.backend)
    again.finished.extend(move for move in again.journal.moves() if move.state.final)  # nobody is told of them again
    world.mover, world.journal = again.mover, again.journal  # the fixture ends the second life
    world.finished, world.incidents = again.finished, again.incidents
    await again.mover.recover()
    return world
