"""A job in our care goes on to a third node, and home: live, from wherever it is, and cared for all the way."""

import asyncio
import json
import os
import signal
from dataclasses import replace

import pytest
from moves_world import crash_and_restart

from offloader.errors import NodeUnreachable, NotFound, Refused
from offloader.model import AttemptState, JobState, MoveState, Reason
from offloader.moves.brought import brought_by, needs_of
from offloader.moves.plan import Bring
from offloader.moves.submitted import LOCAL

pytestmark = [pytest.mark.slow, pytest.mark.criu]

ON = Bring("spare", "fake", 0)
HOME = Bring("head", LOCAL, 0)


async def away(world, counting):
    """Moved live, and followed there."""
    move = await world.mover.start(counting.plan())
    done = await world.final(move)
    assert done.state is MoveState.DONE, (done.reason, done.detail)
    await followed(world, move.job)
    counting.counts_on()
    return move


async def followed(world, job):
    async with asyncio.timeout(20):
        while (custody := world.mover._custodies.get(job)) is None or custody.followed is None:
            await asyncio.sleep(0.02)


async def brought(world, counting, job, wish):
    move = await world.mover.bring(job, wish)
    done = await world.final(move)
    assert done.state is MoveState.DONE, (done.reason, done.detail)
    await followed(world, job)
    counting.counts_on()
    assert len(counting.copies()) == 1
    await counting.images_go()
    return done


async def test_a_job_goes_on_to_a_third_node_and_home_and_ends_there(world, counting):
    first = await away(world, counting)
    second = await brought(world, counting, first.job, ON)
    third = await brought(world, counting, first.job, HOME)
    assert [(one.source, one.target, one.from_epoch, one.to_epoch) for one in (second, third)] == [
        ("worker", "spare", 1, 2),
        ("spare", "head", 2, 3),
    ]
    states = [(one.node, one.state) for one in world.journal.attempts(first.job)]
    assert states == [
        ("head", AttemptState.ENDED),
        ("worker", AttemptState.ENDED),
        ("spare", AttemptState.ENDED),
        ("head", AttemptState.RUNNING),
    ]
    counting.stop.touch()
    job = await world.over(first)
    assert (job.state, job.completion.exit_code) == (JobState.FAILED, 7)
    counting.contiguous()
    assert world.told() == []


@pytest.mark.parametrize("state", ["held", "frozen", "saved"])
async def test_one_that_is_not_brought_after_all_goes_on_where_it_is(world, counting, state):
    first = await away(world, counting)
    move = await world.mover.bring(first.job, ON)
    await world.reached(move, state)
    await world.mover.cancel(move.id, by_uid=0)
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.CANCELLED)
    await followed(world, first.job)
    assert world.mover._custodies[first.job].followed.epoch == 1
    counting.counts_on()
    assert len(counting.copies()) == 1
    with pytest.raises(Refused, match="is over"):  # once more: the job is not meant
        await world.mover.cancel(move.id, by_uid=0)
    kept = json.loads(world.tools.capsules.get(first.job))
    assert (kept["move"], kept["epoch"]) == (first.id, 1), "the picture of the job where its user started it"
    counting.stop.touch()
    job = await world.over(first)
    assert (job.state, job.completion.exit_code) == (JobState.FAILED, 7)
    assert [one.epoch for one in world.journal.attempts(first.job)] == [0, 1, 2]
    assert world.told() == [], "its end is its own, and it is not started again"
    assert world.journal.reserved() == {}
    counting.contiguous()


async def test_a_job_that_is_harmless_to_run_again_is_so_after_a_bring_that_was_refused(world, counting, monkeypatch):
    """What it needs is not forgotten with the move that came to nothing."""
    first = await away(world, counting)
    agent = world.tools.agents["spare"]
    monkeypatch.setattr(agent, "node", replace(agent.node, criu="/nonexistent/criu"))
    refused = await world.final(await world.mover.bring(first.job, ON))
    assert (refused.state, refused.reason) == (MoveState.ROLLED_BACK, Reason.NO_CRIU)
    await followed(world, first.job)
    assert needs_of(world.tools, first.job) == counting.plan().candidate.needs
    assert brought_by(world.journal, first.job).id == first.id
    assert world.mover._custodies[first.job]._ward.origin is not None


async def test_a_source_that_falls_silent_in_the_middle_of_a_bring_keeps_no_room_and_is_told_of(
    world, counting, monkeypatch
):
    first = await away(world, counting)
    move = await world.mover.bring(first.job, ON)
    await world.reached(move, "held")
    agent = world.tools.agents["worker"]

    async def silent(*_arguments, **_options):
        raise NodeUnreachable("worker does not answer")

    for way in ("verb", "link", "attach"):
        monkeypatch.setattr(agent, way, silent)
    await world.mover.cancel(move.id, by_uid=0)
    async with asyncio.timeout(20):
        while world.journal.reserved() or "out_of_reach" not in world.told():
            await asyncio.sleep(0.05)
    monkeypatch.undo()
    ended = await world.final(move)
    assert ended.state is MoveState.ROLLED_BACK
    counting.counts_on()
    assert len(counting.copies()) == 1


@pytest.mark.parametrize("state", ["planned", "frozen", "go", "owning", "ended"])
async def test_a_controller_that_dies_while_a_job_is_brought(world, counting, state):
    first = await away(world, counting)
    move = await world.mover.bring(first.job, ON)
    await world.reached(move, state)
    await crash_and_restart(world)
    await world.final(move)
    await followed(world, first.job)
    counting.counts_on()
    assert len(counting.copies()) == 1
    counting.contiguous()
    counting.stop.touch()
    job = await world.over(first)
    assert job.completion.exit_code == 7


async def test_a_job_that_ends_while_it_is_brought_has_ended(world, counting):
    first = await away(world, counting)
    move = await world.mover.bring(first.job, ON)
    counting.stop.touch()
    await world.final(move)
    job = await world.over(first)
    assert (job.state, job.completion.exit_code) == (JobState.FAILED, 7)
    counting.contiguous()


async def test_what_cannot_be_brought_is_refused_and_left_alone(world, counting):
    first = await away(world, counting)
    with pytest.raises(NotFound, match="no job"):
        await world.mover.bring("01JD7Q3ZK8V5X9N2M4B6C8D0EF", ON)
    with pytest.raises(Refused, match="runs on worker already") as there:
        await world.mover.bring(first.job, Bring("worker", "fake", 0))
    assert there.value.reason is Reason.TARGET_NOT_ALLOWED
    await world.mover.bring(first.job, ON)
    with pytest.raises(Refused) as twice:
        await world.mover.bring(first.job, ON)
    assert twice.value.reason is Reason.ALREADY_MOVING


async def test_a_worker_without_room_is_no_place_to_go_on(world, counting):
    first = await away(world, counting)
    world.full.add("spare")
    with pytest.raises(Refused, match="every worker is full"):
        await world.mover.bring(first.job, ON)
    counting.counts_on()


async def test_a_worker_that_dies_with_a_job_that_was_brought_there(world, counting):
    """It may not run again: lost, and told. Its launcher's death is seen at the node where it is now."""
    first = await away(world, counting)
    await brought(world, counting, first.job, ON)
    agent = world.tools.agents["spare"]
    status = await agent.verb("status", agent.attempt_dir(first.job, 2))
    os.kill(status["pid"], signal.SIGKILL)
    job = await world.over(first)
    assert job.state is JobState.LOST
    assert counting.copies() == []
