"""One hand-off after the other, with real processes: what moved, what came back, how many copies ran."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL
from pathlib import Path

import pytest

from offloader.errors import Refused
from offloader.model import JobState, MoveState, Reason

pytestmark = pytest.mark.slow


async def test_a_move_ends_with_one_copy_at_the_target_and_never_two(world):
    original = world.start_load("--count=0")
    move = await world.mover.start(world.plan(original.pid))
    done = await world.final(move)
    assert done.state is MoveState.DONE, done.detail
    assert original.wait(5) == -signal.SIGKILL
    await asyncio.sleep(0.5)
    report = world.witness.report()
    assert len(report["chain"]) == 2
    assert report["overlaps"] == 0
    assert report["running"] == [report["chain"][1]["start_id"]]
    attempts = world.journal.attempts(move.job)
    pids = {record["start_id"]: record["pid"] for record in world.witness.records}
    assert [attempt.pid for attempt in attempts] == [pids[entry["start_id"]] for entry in report["chain"]]


async def test_the_states_are_journalled_in_their_one_order(world):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.final(move)
    assert world.states(move) == [
        "planned", "preflighted", "reserved", "queued", "held", "frozen", "saved", "go", "proven", "owning", "owned",
        "ended", "done",
    ]  # fmt: skip


async def test_the_exit_code_of_the_moved_job_is_kept(world):
    original = world.start_load("--duration=8", "--exit-code=7")
    move = await world.mover.start(world.plan(original.pid))
    assert (await world.final(move)).state is MoveState.DONE
    async with asyncio.timeout(30):
        while (job := world.journal.job(move.job)).state is JobState.RUNNING:
            await asyncio.sleep(0.1)
    assert (job.state, job.completion.exit_code) == (JobState.FAILED, 7)
    assert world.tools.capsules.get(move.job) is None
    assert world.journal.reserved() == {}


@pytest.mark.parametrize("state", ["planned", "preflighted", "reserved", "queued", "held", "frozen", "saved", "go"])
async def test_a_cancelled_move_leaves_the_original_running_alone(world, state):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, state)
    await world.mover.cancel(move.id, by_uid=0)
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.CANCELLED)
    before = len(world.witness.records)
    await asyncio.sleep(0.6)
    assert original.poll() is None
    assert {record["pid"] for record in world.witness.records[before:]} == {original.pid}
    assert world.witness.report()["overlaps"] == 0
    assert world.journal.reserved() == {}


async def test_what_its_owner_keeps_is_rolled_back_before_ownership(world):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, MoveState.FROZEN)
    assert await world.mover.withdraw(move.id, Reason.KEPT, "kept by uid 1")
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.KEPT)
    assert original.poll() is None
    assert world.witness.report()["overlaps"] == 0


@pytest.mark.parametrize("state", ["planned", "preflighted", "reserved", "queued", "held"])
async def test_what_is_to_be_taken_back_only_untouched_is_while_it_is(world, state):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, state)
    taken_back = await world.mover.withdraw(move.id, Reason.CANCELLED, "resolved", untouched=True)
    ended = await world.final(move)
    assert (ended.state is MoveState.ROLLED_BACK) is taken_back
    assert taken_back is ("frozen" not in world.states(move))
    assert world.witness.report()["overlaps"] == 0


@pytest.mark.parametrize("state", ["frozen", "saved", "go"])
async def test_what_is_frozen_is_not_taken_back_as_untouched(world, state):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, state)
    assert not await world.mover.withdraw(move.id, Reason.CANCELLED, "resolved", untouched=True)
    assert (await world.final(move)).state is MoveState.DONE


async def test_a_keep_that_comes_too_late_ends_nothing(world):
    """Unlike a cancel: the successor goes on."""
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    ended = await world.final(move)
    assert ended.state is MoveState.DONE
    assert not await world.mover.withdraw(move.id, Reason.KEPT, "kept by uid 1")
    before = len(world.witness.records)
    await asyncio.sleep(0.6)
    assert {record["pid"] for record in world.witness.records[before:]} - {original.pid}


async def test_a_program_that_is_gone_is_refused_before_the_original_is_frozen(world, tmp_path):
    program = tmp_path / "gone"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    child = await asyncio.create_subprocess_exec(
        str(program), "600", start_new_session=True, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    program.unlink()
    try:
        move = await world.mover.start(world.plan(child.pid))
        ended = await world.final(move)
        assert ended.state is MoveState.ROLLED_BACK
        assert ended.reason in (Reason.NO_EXECUTABLE, Reason.ARGV_REWRITTEN)
        assert "frozen" not in world.states(move)
        assert child.returncode is None
    finally:
        child.kill()
        await child.wait()


async def test_a_backend_that_is_down_costs_the_original_nothing(world):
    original = world.start_load()
    world.backend.down = True
    move = await world.mover.start(world.plan(original.pid))
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.SUBMIT_FAILED)
    assert "frozen" not in world.states(move)


async def test_the_kill_switch_stops_a_move_before_its_next_irreversible_step(world):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    world.forbidden.append((Reason.KILL_SWITCH, "the file `disabled` is there"))
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.KILL_SWITCH)
    assert original.poll() is None


async def test_a_reused_pid_is_never_touched(world):
    original = world.start_load()
    plan = world.plan(original.pid)
    original.kill()
    original.wait()
    move = await world.mover.start(plan)
    ended = await world.final(move)
    assert ended.state is MoveState.ROLLED_BACK
    assert ended.reason in (Reason.NO_SUCH_PROCESS, Reason.PID_REUSED)


async def test_the_same_process_is_not_moved_twice_at_once(world):
    original = world.start_load()
    first = await world.mover.start(world.plan(original.pid))
    with pytest.raises(Refused) as refusal:
        await world.mover.start(world.plan(original.pid))
    assert refusal.value.reason is Reason.ALREADY_MOVING
    await world.final(first)


async def test_a_successor_that_fails_at_once_is_rolled_back(world):
    original = world.start_load("--duration=0")
    trap = world.root / "fail-now"
    plan = world.plan(original.pid, env={"GRID_TEST": "x", "PYTHONHOME": str(trap)})
    move = await world.mover.start(plan)
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.LAUNCH_FAILED)
    before = len(world.witness.records)
    await asyncio.sleep(0.5)
    assert {record["pid"] for record in world.witness.records[before:]} == {original.pid}


async def test_a_successor_that_changed_the_originals_file_is_not_thawed_onto_it(world):
    """It truncates its output and fails: thawed, the original would write at its old offset, behind a hole."""
    shared = world.root / "shared.out"
    script = world.root / "worker.sh"
    script.write_text(
        f'exec 9>"{shared}"\n'
        'if [ -n "$MIGRATED_FROM_PID" ] && [ "${OFFLOADING_TASK_ID##*.}" = 1 ]; then exit 1; fi\n'
        "while :; do echo line >&9; sleep 0.05; done\n"
    )
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", str(script), start_new_session=True, cwd=world.root, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while not shared.exists() or shared.stat().st_size == 0:
                await asyncio.sleep(0.05)
        move = await world.mover.start(world.plan(child.pid))
        ended = await world.final(move)
        assert ended.state is MoveState.ROLLED_BACK
        assert "restarted" in ended.detail
        assert await child.wait() == -signal.SIGKILL
        attempt = await world.attempt(move, 2)
        await asyncio.sleep(0.5)
        content = shared.read_bytes()
        assert content
        assert set(content) <= set(b"line\n"), "thawed onto a truncated file, a writer leaves a hole of NULs"
        assert attempt.node == "head"
        pid = world.tools.agents["head"].attempt_dir(move.job, 2)
        status = await world.tools.agents["head"].verb("status", pid)
        assert status["child_alive"]
        os.killpg(status["child"]["pid"], signal.SIGKILL)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


@pytest.mark.parametrize(("capture_state", "arrives"), [(True, True), (False, False)])
async def test_the_environment_travels_unless_it_is_left_behind(world, capture_state, arrives):
    original = world.start_load(env={"PATH": "/usr/bin:/bin", "HOME": "/", "PLANTED": "x"})
    plan = world.plan(original.pid, capture_state=capture_state, env={"ASKED_FOR": "y"})
    move = await world.mover.start(plan)
    assert (await world.final(move)).state is MoveState.DONE
    agent = world.tools.agents["worker"]
    status = await agent.verb("status", agent.attempt_dir(move.job, 1))
    environ = Path(f"/proc/{status['child']['pid']}/environ").read_bytes().split(b"\0")
    assert (b"PLANTED=x" in environ) is arrives
    assert b"PATH=/usr/bin:/bin" in environ
    assert b"ASKED_FOR=y" in environ
