"""A job whose working directory its target does not have, moved by the real hand-off, to its end."""

import asyncio
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
from moves_world import candidate_of, wait_for

from offloader.adapters.capsules import CapsuleFiles
from offloader.adapters.clock import SystemClock
from offloader.adapters.journal import Journal
from offloader.backends.fake import FakeBackend
from offloader.errors import BackendError
from offloader.jobs.ids import UlidFactory
from offloader.model import Capacity, JobState, MoveState, Obstacle, Reason, StrategyName
from offloader.moves.mover import Mover
from offloader.moves.plan import MovePlan, Timings
from offloader.moves.preflight import Preflight
from offloader.moves.tools import Place, Tools
from offloader.strategies import STRATEGIES

pytestmark = [pytest.mark.root, pytest.mark.slow]

# It keeps what it does in its directory, and ends as soon as it finds a file "stop" there.
PROGRAM = """
import os, sys, time
with open("lives.txt", "a") as lives:
    lives.write(os.environ.get("TARGET_NODE", "head") + "\\n")
open("up", "w").close()
while not os.path.exists("stop"):
    time.sleep(0.02)
print("finished", flush=True)
open("result.txt", "w").write(open("in.csv").read() * 2)
sys.exit(int(open("stop").read() or 0))
"""


@pytest.fixture
async def moving(others):
    """The hand-off's tools over both nodes."""
    journal = Journal(others.root / "journal")
    clock = SystemClock()
    backend = FakeBackend(frozenset({"gpu1"}), {"gpu1": others.hosts["gpu1"]})
    staging = others.staging()
    strategies = {one.name: one for one in STRATEGIES}
    incidents, places = [], []
    tools = Tools(
        head="head",
        store=journal,
        clock=clock,
        agents=others.agents,
        backends={"fake": backend},
        strategies=strategies,
        capsules=CapsuleFiles(others.root / "capsules"),
        forbidden=lambda _move: None,
        preflight=Preflight(others.agents, strategies, {"fake": backend}, staging),
        staging=staging,
        timings=Timings(hold_s=30, retry_s=0.1, reservation_lag_s=0.5, reach_s=1, again_s=0.2, again_max_s=0.5),
        on_incident=incidents.append,
        placer=lambda *_asked, **_avoid: places[0] if places else Obstacle(Reason.NO_TARGET, "full"),
    )
    mover = Mover(tools, new_id=UlidFactory(clock.time, os.urandom))
    yield SimpleNamespace(
        tools=tools, nodes=others, journal=journal, mover=mover, backend=backend, incidents=incidents, places=places
    )
    await mover.close()
    await backend.close()
    journal.close()


@pytest.fixture
def job(others):
    others.write("in.csv", "1,2 ")
    others.write("job.py", PROGRAM)
    with others.write("out.log", "").open("ab") as out:
        child = subprocess.Popen(
            ["/usr/bin/python3", "job.py"],
            cwd=others.here,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            user=others.uid,
            group=others.gid,
            extra_groups=[],
            start_new_session=True,
        )
    try:
        wait_for((others.here / "up").exists, 20)
        yield child
    finally:
        child.kill()
        child.wait()


def plan(pid: int) -> MovePlan:
    offer = Capacity(cores=4, memory_bytes=1 << 34)
    return MovePlan(candidate_of(pid), "gpu1", StrategyName.RESTART, None, False, 0, offer, backend="fake")


async def until(condition, seconds: float = 60.0):
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(0.05)
    return found


async def final(moving, move):
    return await until(lambda: (now := moving.journal.move(move.id)).state.final and now)


async def test_a_job_runs_on_its_copy_and_its_results_come_back(moving, job):
    nodes = moving.nodes
    move = await final(moving, await moving.mover.start(plan(job.pid)))
    assert move.state is MoveState.DONE
    await until(lambda: (nodes.there / "lives.txt").read_text() == "head\ngpu1\n")
    assert (nodes.here / "lives.txt").read_text() == "head\n"

    nodes.write("stop", "0", nodes.there)
    over = await until(lambda: (now := moving.journal.job(move.job)).state is not JobState.RUNNING and now)

    assert over.state is JobState.SUCCEEDED
    assert (nodes.here / "result.txt").read_text() == "1,2 1,2 "
    assert (nodes.here / "lives.txt").read_text() == "head\ngpu1\n"
    assert (nodes.here / "out.log").read_text() == "finished\n"
    assert list((nodes.root / "worker-home").iterdir()) == []
    assert moving.journal.fact(move.id, "staging") == []


async def test_a_move_that_turns_back_leaves_no_copy_and_the_original_as_it_was(moving, job, monkeypatch):
    nodes = moving.nodes

    async def refused(_submission):
        raise BackendError("no place")

    monkeypatch.setattr(moving.backend, "submit", refused)
    move = await final(moving, await moving.mover.start(plan(job.pid)))
    assert (move.state, move.reason) == (MoveState.ROLLED_BACK, Reason.SUBMIT_FAILED)
    await until(lambda: not list((nodes.root / "worker-home").iterdir()))
    await until(lambda: moving.journal.fact(move.id, "staging") == [])
    assert job.poll() is None
    assert (nodes.here / "lives.txt").read_text() == "head\n"


async def test_results_that_cannot_come_back_are_waited_for_and_told_of_once(moving, job):
    nodes = moving.nodes
    move = await final(moving, await moving.mover.start(plan(job.pid)))
    await until(lambda: (nodes.there / "lives.txt").read_text() == "head\ngpu1\n")
    away = nodes.here.with_name("away")
    nodes.here.rename(away)

    nodes.write("stop", "0", nodes.there)
    await until(lambda: moving.incidents)
    await asyncio.sleep(1.0)
    assert [str(one.kind) for one in moving.incidents] == ["uncollected"]
    assert moving.journal.job(move.job).state is JobState.RUNNING
    away.rename(nodes.here)
    await until(lambda: moving.journal.job(move.job).state is JobState.SUCCEEDED)
    assert (nodes.here / "result.txt").exists()


async def test_conflicts_are_told_to_people(moving, job):
    nodes = moving.nodes
    move = await final(moving, await moving.mover.start(plan(job.pid)))
    await until(lambda: (nodes.there / "lives.txt").read_text() == "head\ngpu1\n")
    nodes.write("result.txt", "somebody's own")
    nodes.write("stop", "0", nodes.there)
    await until(lambda: moving.journal.job(move.job).state is JobState.SUCCEEDED)
    assert (nodes.here / "result.txt").read_text() == "somebody's own"
    assert (nodes.here / "result.txt.from-gpu1-1").read_text() == "1,2 1,2 "
    assert [str(one.kind) for one in moving.incidents] == ["conflicts"]


async def test_a_job_whose_launcher_died_brings_its_work_home_before_it_starts_again(moving, job):
    """While no worker has room for it what it had done is at its source; its next start carries that along."""
    nodes = moving.nodes
    move = await final(moving, await moving.mover.start(plan(job.pid)))
    await until(lambda: (nodes.there / "lives.txt").read_text() == "head\ngpu1\n")
    agent = nodes.agents["gpu1"]
    status = await agent.verb("status", agent.attempt_dir(move.job, 1))
    os.kill(status["pid"], signal.SIGKILL)
    await until(lambda: (nodes.here / "lives.txt").read_text() == "head\ngpu1\n")
    await until(lambda: len(moving.journal.attempts(move.job)) == 3)
    assert not nodes.there.exists()

    moving.places.append(Place("gpu1", Capacity(cores=4, memory_bytes=1 << 34)))
    await until(
        lambda: (nodes.there / "lives.txt").exists() and "gpu1\ngpu1" in (nodes.there / "lives.txt").read_text()
    )
    nodes.write("stop", "0", nodes.there)
    await until(lambda: moving.journal.job(move.job).state is JobState.SUCCEEDED)
    assert (nodes.here / "lives.txt").read_text() == "head\ngpu1\ngpu1\n"
    assert not nodes.there.exists()


async def test_a_controller_that_was_killed_while_it_copied_leaves_no_copy(moving, job):
    """Its successor rolls the move back, and takes away what had been copied."""
    nodes = moving.nodes
    with nodes.write("big", "").open("wb") as file:
        file.write(os.urandom(64 << 20))
    move = await moving.mover.start(plan(job.pid))
    await until(lambda: list(nodes.there.glob(".big.*")))
    tasks = list(moving.mover._tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert moving.journal.move(move.id).state is MoveState.RESERVED
    assert nodes.there.exists()

    again = Mover(moving.tools, new_id=UlidFactory(SystemClock().time, os.urandom))
    await again.recover()
    assert (await final(moving, move)).state is MoveState.ROLLED_BACK
    await until(lambda: not list((nodes.root / "worker-home").iterdir()))
    await again.close()
    assert job.poll() is None
