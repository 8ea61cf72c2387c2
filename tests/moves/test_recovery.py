"""The controller dies in the middle and comes back: one copy in the end, never two, nothing left behind."""

import asyncio
import os
import time
from dataclasses import replace

import pytest
from moves_world import crash_and_restart

from offloader.jobs.ids import UlidFactory
from offloader.model import JobState, MoveState, Reason
from offloader.moves.mover import Mover

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("state", ["planned", "preflighted", "queued", "held", "frozen", "saved", "go", "proven"])
async def test_a_restart_before_ownership_rolls_back(world, state):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, state)
    await crash_and_restart(world)
    ended = await world.final(move)
    if ended.state is MoveState.ROLLED_BACK:  # `proven` may have become `owning` before the crash
        assert ended.reason is Reason.CONTROLLER_RESTARTED
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["running"]) == 1
    assert world.journal.reserved() == {}


@pytest.mark.parametrize("state", ["owning", "owned"])
async def test_a_restart_after_ownership_began_to_pass_finishes(world, state):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, state)
    await crash_and_restart(world)
    ended = await world.final(move)
    assert ended.state is MoveState.DONE, ended.detail
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["running"]) == 1
    assert original.wait(5) != 0


async def test_a_job_that_was_moved_is_followed_again(world):
    original = world.start_load("--duration=9", "--exit-code=3")
    move = await world.mover.start(world.plan(original.pid))
    assert (await world.final(move)).state is MoveState.DONE
    await crash_and_restart(world)
    async with asyncio.timeout(40):
        while (job := world.journal.job(move.job)).state is JobState.RUNNING:
            await asyncio.sleep(0.1)
    assert job.completion.exit_code == 3


@pytest.mark.parametrize("state", ["held", "done"])
async def test_a_worker_that_is_not_in_the_cluster_file_any_more_stops_neither_the_start_nor_is_it_forgotten(
    world, state
):
    """Its job may run there: it is told of, and stays as it is in the journal until the worker is back."""
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, state)
    tasks = list(world.mover._tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    without = replace(world.tools, agents={"head": world.tools.agents["head"]})
    world.mover = Mover(without, new_id=UlidFactory(time.time, os.urandom))
    await world.mover.recover()
    async with asyncio.timeout(10):
        while "out_of_reach" not in world.told():
            await asyncio.sleep(0.05)
    assert "not in the cluster file any more" in world.incidents[-1].detail
    assert world.journal.move(move.id).state == state
    assert world.journal.job(move.job).state is (JobState.UNKNOWN if state == "done" else JobState.RUNNING)


async def test_a_controller_that_stays_away_leaves_the_original_running(world):
    """The lease ends the successor, the guard thaws: nobody has to come back for that."""
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, "go")
    tasks = list(world.mover._tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    frozen = len(world.witness.records)
    async with asyncio.timeout(40):
        while original.pid not in {record["pid"] for record in world.witness.records[frozen:]}:
            await asyncio.sleep(0.2)
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["running"]) == 1
    await crash_and_restart(world)
    assert (await world.final(move)).state is MoveState.ROLLED_BACK
