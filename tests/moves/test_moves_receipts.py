"""What the receipt of a real move says: of real processes, over a killed controller and a dead worker."""

import asyncio
import time

import pytest
from moves_world import crash_and_restart
from receipts import decided

from offloader.jobs.receipt import Record, compose, later_losses
from offloader.model import MoveState

pytestmark = pytest.mark.slow


def record_of(world, move) -> Record:
    store = world.journal
    return Record(store.move(move.id), store.timeline(move.id), store.attempts(move.job), store.moves_of_job(move.job))


def span(record: Record, first: MoveState, last: MoveState) -> float:
    times = {step.state: step.t for step in record.steps}
    return times[last] - times[first]


@pytest.mark.parametrize("crash", [None, "owning", "owned"])
async def test_a_restart_costs_what_it_cost_whoever_finishes_it(world, crash):
    """The load is 10 s old, by the plan; a controller that dies while ownership passes forgets no standstill."""
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    if crash is not None:
        await world.reached(move, crash)
        await crash_and_restart(world)
    assert (await world.final(move)).state is MoveState.DONE
    record = record_of(world, move)
    found = compose(record, decided(), None, beside=(), t=time.time())
    lost_s = 10.0 + span(record, MoveState.PLANNED, MoveState.FROZEN)
    assert found.work_lost_s.value == pytest.approx(lost_s, abs=0.01)
    assert 0 < found.downtime_s.value < span(record, MoveState.HELD, MoveState.PROVEN)
    assert (found.bytes_moved.value, found.downtime_s.at_most) == (0, False)
    assert sum(seconds for _, seconds in found.steps) == pytest.approx(span(record, MoveState.PLANNED, MoveState.DONE))


async def test_one_that_is_taken_back_frozen_stood_still_and_lost_nothing(world):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, "frozen")
    await world.mover.cancel(move.id, by_uid=0)
    assert (await world.final(move)).state is MoveState.ROLLED_BACK
    found = compose(record_of(world, move), decided(), None, beside=(), t=time.time())
    assert (found.work_lost_s.value, found.bytes_moved.value) == (0.0, 0)
    assert found.downtime_s.at_most
    assert found.downtime_s.value > 0


async def test_a_worker_that_dies_costs_what_was_done_there(world):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    assert (await world.final(move)).state is MoveState.DONE
    first = await world.attempt(move, 1)
    await asyncio.sleep(2.0)  # work to be lost
    killed_t = time.time()
    await world.kill_launcher(move, first)
    second = await world.attempt(move, 2)
    [loss] = later_losses(record_of(world, move), world.journal.job(move.job))
    assert (loss.node, loss.again, loss.since) == (first.node, second.node, "start")
    assert loss.work_lost_s.at_most, "when it ended is not known, only when that was found"
    assert killed_t - first.started_t <= loss.work_lost_s.value <= second.started_t - first.started_t
