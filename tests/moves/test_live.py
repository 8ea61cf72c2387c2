"""Live moves by the real launcher and the real criu: what runs goes on from where it was, and never twice at once.

Head and worker are this machine; a restored job lives in pid and mount namespaces of its own. The job counts in a file,
so a gap, a repetition or a second writer shows in what it reads.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from moves_world import crash_and_restart

from offloader.errors import NodeUnreachable, Refused
from offloader.model import JobState, MoveState, Reason, StrategyName
from offloader.moves.guarding import Guard

pytestmark = [pytest.mark.slow, pytest.mark.criu]


async def test_a_running_job_goes_on_at_the_target_and_ends_there(world, counting):
    move = await world.mover.start(counting.plan())
    done = await world.final(move)
    assert done.state is MoveState.DONE, (done.reason, done.detail)
    counting.counts_on()
    assert counting.process.wait(5) == -signal.SIGKILL
    (copy,) = counting.copies()
    assert copy != counting.process.pid
    await counting.images_go()
    states = world.states(move)
    assert states[states.index("held") :] == [
        "held", "frozen", "saved", "go", "proven", "owning", "owned", "ended", "done",
    ]  # fmt: skip
    assert done.bytes_moved > 20 << 20
    assert 0 < done.downtime_s < 30
    counting.stop.touch()
    job = await world.over(move)
    assert (job.state, job.completion.exit_code) == (JobState.FAILED, 7)
    counting.contiguous()


@pytest.mark.parametrize("state", ["held", "frozen", "saved", "go"])
async def test_a_live_move_that_is_cancelled_leaves_the_original_running_alone(world, counting, state):
    move = await world.mover.start(counting.plan())
    await world.reached(move, state)
    with suppress(Refused):  # ownership is just being passed: nothing of a live move takes long after `go`
        await world.mover.cancel(move.id, by_uid=0)
    ended = await world.final(move)
    counting.counts_on()
    assert len(counting.copies()) == 1
    assert (counting.copies() == [counting.process.pid]) == (ended.state is MoveState.ROLLED_BACK)
    await counting.images_go()
    counting.contiguous()


@pytest.mark.parametrize("state", ["frozen", "saved", "go", "proven", "owning", "owned", "ended"])
async def test_a_controller_that_dies_in_a_live_move(world, counting, state):
    move = await world.mover.start(counting.plan())
    await world.reached(move, state)
    await crash_and_restart(world)
    ended = await world.final(move)
    assert ended.state in (MoveState.DONE, MoveState.ROLLED_BACK)
    counting.counts_on()
    assert len(counting.copies()) == 1
    await counting.images_go()
    counting.contiguous()


@pytest.mark.parametrize("state", ["frozen", "saved", "go", "proven"])
async def test_a_launcher_that_is_killed_before_it_owns(world, counting, state):
    move = await world.mover.start(counting.plan())
    await world.reached(move, state)
    agent = world.tools.agents["worker"]
    status = await agent.verb("status", agent.attempt_dir(move.job, 1))
    os.kill(status["pid"], signal.SIGKILL)
    ended = await world.final(move)
    if ended.state is MoveState.ROLLED_BACK:
        counting.counts_on()
        assert counting.copies() == [counting.process.pid]
    await counting.images_go()
    counting.contiguous()


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1])
async def test_a_guard_that_is_killed_while_it_dumps(world, counting, after_s):
    """Its keeper ends the criu that it left, and thaws; the job runs on here, whole."""
    move = await world.mover.start(counting.plan())
    await world.reached(move, "frozen")
    agent = world.tools.agents["head"]
    status = await agent.verb("status", agent.move_dir(move.id))
    await asyncio.sleep(after_s)
    os.kill(status["pid"], signal.SIGKILL)
    ended = await world.final(move)
    counting.counts_on()
    assert len(counting.copies()) == 1
    await counting.images_go()
    assert ended.state in (MoveState.DONE, MoveState.ROLLED_BACK)
    counting.contiguous()


async def test_a_target_without_criu_is_told_and_the_next_strategy_is_taken(world, counting, monkeypatch):
    agent = world.tools.agents["worker"]
    monkeypatch.setattr(agent, "node", replace(agent.node, criu="/nonexistent/criu"))
    refused = await world.final(await world.mover.start(counting.plan()))
    assert (refused.state, refused.reason) == (MoveState.ROLLED_BACK, Reason.NO_CRIU)
    assert "/nonexistent/criu" in refused.detail
    with monkeypatch.context() as within_the_same_second:
        within_the_same_second.setattr(world.tools.clock, "time", lambda: refused.created_t)
        again = await world.mover.start(counting.plan(fallbacks=(StrategyName.RESTART,)))
    assert again.id != refused.id
    fallen = await world.final(again)
    assert fallen.strategy is StrategyName.RESTART


async def test_what_criu_cannot_take_is_found_before_anything_is_touched(world, counting, tmp_path):
    """A unix socket to somebody outside."""
    listener = tmp_path / "listener"
    talks = (
        "import socket, sys, time\n"
        f"a = socket.socket(socket.AF_UNIX); a.connect({str(listener)!r})\n"
        "print('up', flush=True)\n"
        "time.sleep(600)"
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listener))
        server.listen()
        with (tmp_path / "out").open("ab") as out:
            child = subprocess.Popen(
                [sys.executable, "-c", talks], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        world.children.append(child)
        deadline = time.monotonic() + 20
        while b"up" not in (tmp_path / "out").read_bytes():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        move = await world.mover.start(world.plan(child.pid, strategy=StrategyName.LIVE))
        ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.OPEN_EDGE)
    assert "frozen" not in world.states(move)
    assert child.poll() is None


async def test_a_source_that_falls_silent_after_ownership_has_passed_keeps_nothing_standing_still(
    world, counting, monkeypatch
):
    """What is held there is held durably and never runs again: the copy need not wait for its end for ever."""
    silent = asyncio.Event()
    end = Guard.end

    async def unanswered(guard):
        if not silent.is_set():
            raise NodeUnreachable("head does not answer")
        return await end(guard)

    monkeypatch.setattr(Guard, "end", unanswered)
    move = await world.mover.start(counting.plan())
    await world.reached(move, "owned")
    before, deadline = counting.count(), time.monotonic() + 30
    while counting.count() < before + 5:
        assert time.monotonic() < deadline, "it stands still on both sides"
        await asyncio.sleep(0.05)
    assert world.journal.move(move.id).state is MoveState.OWNED
    assert counting.process.poll() is None, "the original, frozen"
    silent.set()
    assert (await world.final(move)).state is MoveState.DONE
    assert counting.process.wait(5) == -signal.SIGKILL
    counting.counts_on()
    counting.contiguous()
