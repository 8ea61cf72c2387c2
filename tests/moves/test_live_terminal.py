"""A job of `run --local` keeps its terminal wherever it goes: real stub, real pseudoterminals, real launchers and criu.

Head and workers are this machine. The job counts on its terminal all the time: what is lost or doubled shows.
"""

import asyncio
import os
import re
import signal
from contextlib import suppress

import pytest
from moves_world import crash_and_restart
from terminal_world import HOME, ON
from terminals import STUB, marked, named, state_of, wait_for

from offloader.errors import Refused
from offloader.model import JobState, MoveState, Reason

pytestmark = [pytest.mark.slow, pytest.mark.criu]


async def test_there_on_and_home_with_keys_output_size_and_exit_code(world, talking):
    talking.start()
    await talking.says(b"here")
    move = await talking.away()
    await talking.says(b"there")
    talking.screen.resize(33, 101)
    await talking.until(b"size 33 by 101")
    await talking.brought(move.job, ON)
    await talking.says(b"further")
    await talking.brought(move.job, HOME)
    await talking.says(b"home")
    talking.screen.resize(40, 120)
    await talking.until(b"size 40 by 120")
    talking.screen.type(b"\x03")
    await talking.until(b"interrupted")
    assert await talking.code() == 3
    job = await world.over(move)
    assert (job.state, job.completion.exit_code) == (JobState.FAILED, 3)
    talking.contiguous()
    assert talking.screen.shown.count(b"size") == 2  # a move by itself is no change of size
    assert talking.screen.now == talking.screen.attributes


async def test_what_is_typed_ahead_arrives_wherever_it_is_read(world, talking, tmp_path):
    """Lines, an end of input, and a line that is finished, after being edited, two nodes further on."""
    reads = tmp_path / "reads"
    talking.start(reads)
    talking.screen.type(b"one\ntwo\nthr")
    await talking.until(b"thr")
    move = await talking.away()
    talking.screen.type(b"x")
    await talking.until(b"x")
    await talking.brought(move.job, ON)
    talking.screen.type(b"\x7fee\nfour\n\x04")
    await talking.until(b"four")
    await talking.brought(move.job, HOME)
    reads.touch()
    for line in (b"one", b"two", b"three", b"four"):
        await talking.until(b"heard %s\r\n" % line)
    assert await talking.code() == 5
    talking.contiguous()


async def test_stopped_and_continued_by_its_users_shell_where_it_is(world, talking):
    screen = talking.start(shell=True)
    before = screen.attributes
    move = await talking.away()
    screen.type(b"\x1a")
    await talking.until(b"Stopped")
    await talking.until(b"prompt> ")
    assert screen.now == before
    refused = await world.final(await world.mover.bring(move.job, ON))
    assert (refused.state, refused.reason) == (MoveState.ROLLED_BACK, Reason.STOPPED)
    screen.resize(30, 90)
    screen.type(b"fg\n")
    for word in (b"again", b"and again"):  # a signal that came while it was stopped is any thread's, Python's by then
        await talking.says(word)
    assert b"size 30 by 90" in screen.shown
    await talking.brought(move.job, ON)
    screen.type(b"\x1a")
    await talking.until(b"Stopped")
    screen.type(b"fg\n")
    await talking.says(b"once more")
    screen.type(b"\x03")
    await talking.until(b"prompt> ")
    screen.type(b"echo code-$?\n")
    await talking.until(b"code-3")
    talking.contiguous()


@pytest.mark.parametrize("state", ["held", "frozen", "saved", "go"])
async def test_a_move_that_is_cancelled_leaves_it_its_terminal(world, talking, state):
    talking.start()
    move = await world.mover.start(talking.plan())
    await world.reached(move, state)
    talking.screen.type(b"meanwhile\n")
    with suppress(Refused):
        await world.mover.cancel(move.id, by_uid=0)
    await world.final(move)
    await talking.until(b"heard meanwhile")
    await talking.says(b"afterwards")
    talking.screen.type(b"\x03")
    assert await talking.code() == 3
    talking.contiguous()
    await talking.gone()


@pytest.mark.parametrize("state", ["frozen", "saved", "go", "proven", "owning", "owned", "ended", "done"])
async def test_a_controller_that_dies_in_a_move(world, talking, state):
    talking.start()
    move = await world.mover.start(talking.plan())
    await world.reached(move, state)
    talking.screen.type(b"meanwhile\n")
    await crash_and_restart(world)
    await world.final(move)
    await talking.until(b"heard meanwhile")
    await talking.says(b"afterwards")
    assert talking.alone() == 1
    talking.screen.type(b"\x03")
    assert await talking.code() == 3
    talking.contiguous()


@pytest.mark.parametrize("state", ["frozen", "saved", "proven", "owned", "ended", "done"])
async def test_a_controller_that_dies_while_it_goes_on(world, talking, state):
    talking.start()
    first = await talking.away()
    await talking.says(b"there")
    async with asyncio.timeout(20):
        while world.mover._custodies[first.job].followed is None:
            await asyncio.sleep(0.02)
    move = await world.mover.bring(first.job, ON)
    await world.reached(move, state)
    talking.screen.type(b"meanwhile\n")
    await crash_and_restart(world)
    await world.final(move)
    await talking.until(b"heard meanwhile")
    await talking.says(b"afterwards")
    talking.screen.type(b"\x03")
    assert await talking.code() == 3
    talking.contiguous()


async def test_a_move_whose_watchdog_lets_it_go_on_gives_its_terminal_back(world, talking):
    """The controller is gone for longer than the guard waits: nobody says anything to the stub."""
    talking.start()
    move = await world.mover.start(talking.plan())
    await world.reached(move, "saved")

    async def away():
        await asyncio.to_thread(wait_for, lambda: state_of(talking.pid) == "S", "it runs on")
        await talking.says(b"without anybody")

    await crash_and_restart(world, away)
    assert (await world.final(move)).state is MoveState.ROLLED_BACK
    await talking.says(b"afterwards")
    talking.screen.type(b"\x03")
    assert await talking.code() == 3
    talking.contiguous()


async def test_a_lost_terminal_leaves_it_running_where_it_is_and_attach_brings_it_back(world, talking):
    """The stub goes on without its user, over another move too: nothing that the job writes is lost."""
    screen = talking.start()
    move = await talking.away()
    screen.hang_up()
    state = talking.desk.folder / "state"
    await asyncio.to_thread(wait_for, lambda: list(state.rglob("sock")), "a place to come back to")
    done = await world.final(await world.mover.bring(move.job, ON))
    assert done.state is MoveState.DONE, (done.reason, done.detail)
    before = screen.shown
    talking.screen = talking.desk.open(*STUB, "attach")
    await talking.until(b"[grid-offloader: now on spare]\r\n")
    await talking.says(b"again")
    talking.screen.type(b"\x03")
    assert await talking.code() == 3
    assert (await world.over(move)).completion.exit_code == 3
    numbers = [int(found) for found in re.findall(rb"<(\d+)>", talking.screen.shown)]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] <= int(re.findall(rb"<(\d+)>", before)[-1]) + 1


async def test_a_stub_that_is_killed_is_a_terminal_that_hangs_up(world, talking):
    talking.start()
    move = await talking.away()
    (stub,) = [pid for pid in marked("TERMINAL_TEST", talking.desk.mark) if named(pid, "--local")]
    os.kill(stub, signal.SIGKILL)
    job = await world.over(move)
    assert job.state is JobState.FAILED
    # 5: it saw the end of its input first; 120: that too, and Python could not write any more
    assert (job.completion.exit_code, job.completion.signal) in {(None, signal.SIGHUP), (5, None), (120, None)}
    await talking.gone()


async def test_a_job_that_dies_with_its_node_is_lost_and_its_user_is_told(world, talking):
    talking.start()
    move = await talking.away()
    agent = world.tools.agents["worker"]
    status = await agent.verb("status", agent.attempt_dir(move.job, 1))
    os.kill(status["pid"], signal.SIGKILL)
    await talking.until(b"[grid-offloader: lost: it vanished on worker]\r\n")
    assert await talking.code() == 125
    assert (await world.over(move)).state is JobState.LOST
    talking.contiguous()


async def test_one_that_is_killed_while_it_is_held_still_does_not_keep_its_user_waiting(world, talking):
    talking.start()
    move = await world.mover.start(talking.plan())
    await world.reached(move, "frozen")
    os.kill(talking.pid, signal.SIGKILL)
    ended = await world.final(move)
    assert ended.state is not MoveState.DONE
    code = await talking.code()
    assert (code, b"[grid-offloader: lost: " in talking.screen.shown) in {(125, True), (137, False)}


async def test_one_that_writes_more_than_anybody_reads_waits_and_moves_on_with_all_of_it(world, talking):
    """400 KB, of which the user's terminal takes what it can hold, until he reads again."""
    screen = talking.start()
    move = await talking.away()
    screen.type(b"burst\n")
    await talking.until(b"(1)")
    done = await world.final(await world.mover.bring(move.job, ON))
    assert done.state is MoveState.DONE, (done.reason, done.detail)
    await talking.until(b"heard burst")
    assert b"[grid-offloader: now on spare]" in screen.shown
    assert talking.numbers(rb"\((\d+)\)") == list(range(1, 50001))
    screen.type(b"\x04")
    assert await talking.code() == 5
    talking.contiguous()


async def test_a_terminal_that_is_not_the_stubs_stays_here(world, talking):
    """What says of itself that `run` started it, and is another process, has a terminal like any other."""
    screen = talking.start()
    other = talking.desk.open("env", talking.mark, "sleep", "600").process.pid
    await asyncio.to_thread(wait_for, lambda: named(other, "sleep") and not named(other, "env"))
    refused = await world.final(await world.mover.start(talking.plan(other)))
    assert (refused.state, refused.reason) == (MoveState.ROLLED_BACK, Reason.TERMINAL)
    assert "not this process" in refused.detail
    screen.type(b"\x03")
    assert await talking.code() == 3
