"""Moves of a job that saves its state by itself: it goes on from there, wherever it is interrupted, and never twice."""

import asyncio
import base64
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from moves_world import candidate_of, crash_and_restart, rehearsed, wait_for

from offloader.model import AttemptState, Checkpointing, JobState, MoveState, Obstacle, Reason, StrategyName

pytestmark = pytest.mark.slow


def saving(world, *options):
    """A load that counts on from its state file, and saves it when it is asked to."""
    file = world.root / "progress"
    child = world.start_load(f"--state={file}", *options)
    wait_for(lambda: handles(child.pid), 10)
    return child, file


def handles(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return mask >> (signal.SIGUSR1 - 1) & 1


def plan(world, child, file=None, **how):
    checkpointing = Checkpointing(signal.SIGUSR1, bytes(file) if file else None, **{"grace_s": 10.0, **how})
    candidate = replace(candidate_of(child.pid), checkpointing=checkpointing, restart_safe=False)
    return world.plan(child.pid, strategy=StrategyName.CHECKPOINT, candidate=candidate)


async def goes_on(world, copies=None):
    """One copy runs in the end, never two did, and each went on from where the original had been.

    How many there were depends on how far a successor got that was given up.
    """
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert copies is None or len(report["chain"]) == copies
    assert report["running"] == [report["chain"][-1]["start_id"]]
    original, *others = report["chain"]
    for one in others:
        assert 0 < one["first_seq"] - original["last_seq"] <= 2, "it goes on where it was"


async def settled(world, move, timeout_s=60.0):
    """The attempt that runs once nothing more is to come."""
    async with asyncio.timeout(timeout_s):
        while True:
            last = world.journal.attempts(move.job)[-1]
            if last.state is AttemptState.RUNNING and last.backend != "original":
                return last
            if world.journal.job(move.job).state is JobState.UNKNOWN:  # it runs as its user started it
                return world.journal.attempts(move.job)[0]
            await asyncio.sleep(0.05)


async def test_a_job_that_saves_goes_on_elsewhere_from_where_it_was(world):
    child, _ = saving(world)
    move = await world.mover.start(plan(world, child))
    done = await world.final(move)
    assert done.state is MoveState.DONE, done.detail
    assert world.states(move) == [
        "planned", "preflighted", "reserved", "queued", "held", "saved", "go", "proven", "owning", "owned", "ended",
        "done",
    ]  # fmt: skip
    assert child.wait(5) == 85
    assert done.downtime_s is not None
    await goes_on(world, 2)


@pytest.mark.parametrize("state", ["planned", "queued", "held", "saved", "go", "proven"])
async def test_a_restart_of_the_controller_loses_nothing_of_it(world, state):
    child, _ = saving(world)
    move = await world.mover.start(plan(world, child))
    await world.reached(move, state)
    await crash_and_restart(world)
    ended = await world.final(move)
    assert ended.state in (MoveState.ROLLED_BACK, MoveState.DONE)
    await settled(world, move)
    await goes_on(world)
    assert child.poll() in (None, 85)
    assert world.journal.reserved() == {}


@pytest.mark.parametrize("state", ["held", "saved", "go"])
async def test_a_cancel_brings_it_back_to_its_source_from_where_it_was(world, state):
    child, _ = saving(world)
    move = await world.mover.start(plan(world, child))
    await world.reached(move, state)
    await world.mover.cancel(move.id, by_uid=0)
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.CANCELLED)
    last = await settled(world, move)
    assert (last.node, last.backend) == ("head", "local")
    await goes_on(world)


async def test_one_that_does_not_save_in_time_simply_goes_on(world):
    """And when it saves and ends later all the same, it is started again where it was."""
    child, _ = saving(world, "--save-after=4")
    move = await world.mover.start(plan(world, child, grace_s=0.5))
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.NOT_SAVED)
    assert "started again here" in ended.detail
    assert child.poll() is None
    watched = world.journal.attempts(move.job)[-1]
    assert (watched.backend, watched.pid, watched.state) == ("original", child.pid, AttemptState.RUNNING)
    assert world.journal.reserved() == {}
    again = await world.attempt(move, 3)
    assert (again.node, again.backend) == ("head", "local")
    assert child.wait(5) == 85
    await goes_on(world, 2)


async def test_one_that_is_late_is_not_forgotten_by_a_controller_that_was_restarted(world):
    child, _ = saving(world, "--save-after=6")
    move = await world.mover.start(plan(world, child, grace_s=0.5))
    assert (await world.final(move)).reason is Reason.NOT_SAVED

    async def until_it_ended():
        await asyncio.to_thread(child.wait, 20)

    await crash_and_restart(world, until_it_ended)
    await world.attempt(move, 3)
    await goes_on(world, 2)


async def test_one_that_never_saves_and_ends_well_is_over(world):
    """The controller saw it to its end: nothing is started again."""
    child, _ = saving(world, "--save-after=1000", "--duration=5")
    move = await world.mover.start(plan(world, child, grace_s=0.5))
    assert (await world.final(move)).reason is Reason.NOT_SAVED
    assert await asyncio.to_thread(child.wait, 20) == 0
    job = await world.over(move)
    assert job.state is JobState.SUCCEEDED
    assert len(world.witness.report()["chain"]) == 1


async def test_one_that_fails_while_it_saves_is_started_again_where_it_was(world):
    child, _ = saving(world, "--save-exit=1")
    move = await world.mover.start(plan(world, child))
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.NOT_SAVED)
    assert "exit code 1" in ended.detail
    await world.attempt(move, 2)
    await goes_on(world, 2)


async def test_a_successor_that_fails_at_once_costs_nothing_of_what_was_saved(world):
    child, file = saving(world)
    move = await world.mover.start(plan(world, child))
    await world.reached(move, "saved")
    broken = file.with_suffix(".kept")
    file.rename(broken)
    file.mkdir()  # nothing can be read from it
    ended = await world.final(move)
    assert ended.state is MoveState.ROLLED_BACK, ended.detail
    file.rmdir()
    broken.rename(file)
    await world.attempt(move, 2)
    wait_for(lambda: len(world.witness.report()["running"]) == 1, 60)
    assert world.witness.report()["overlaps"] == 0


async def test_a_worker_that_dies_afterwards_costs_what_was_done_since_the_last_checkpoint(world):
    """Not its whole life, although nobody declared a restart harmless."""
    child, file = saving(world, "--save-every=1")
    move = await world.mover.start(plan(world, child, file))
    assert (await world.final(move)).state is MoveState.DONE
    await asyncio.sleep(1.5)
    await world.kill_launcher(move, await world.attempt(move, 1))
    again = await world.attempt(move, 2)
    assert again.node == "spare"
    assert 0 <= again.started_t - again.resumed_t < 10, "how old was what it went on from"
    await asyncio.sleep(1)
    chain = world.witness.report()["chain"]
    assert len(chain) == 3
    assert chain[2]["first_seq"] > chain[1]["first_seq"]
    assert world.witness.report()["overlaps"] == 0


async def test_a_job_that_handles_no_such_signal_is_not_sent_it(world):
    child = world.start_load()
    move = await world.mover.start(plan(world, child))
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.NO_CHECKPOINT)
    assert child.poll() is None


async def test_a_lock_that_it_lets_go_of_by_ending_is_no_obstacle(world):
    child, file = saving(world, "--lock")
    assert (await rehearsed(world, plan(world, child))).obstacles == ()
    (locked,) = (await rehearsed(world, world.plan(child.pid))).obstacles
    assert locked.reason is Reason.LOCKED
    assert file.with_suffix(".lock").exists()


async def test_its_state_has_to_be_reachable_where_it_goes(world, monkeypatch):
    """What is told of is the directory of its checkpoint, or else the one that it works in."""
    child, _ = saving(world)
    asked = []
    answer = world.tools.agents["worker"].verb

    async def verb(name, *arguments, stdin=b"", **options):
        if name == "check":
            asked.append(json.loads(stdin)["survey"]["state_in"])
        return await answer(name, *arguments, stdin=stdin, **options)

    monkeypatch.setattr(world.tools.agents["worker"], "verb", verb)
    (world.root / "below").mkdir()
    for file, directory in ((None, world.root), (world.root / "below/last", world.root / "below")):
        await rehearsed(world, plan(world, child, file))
        packed = base64.b64encode(bytes(directory)).decode()
        assert asked.pop() == [[packed, packed]]


async def test_where_it_cannot_be_asked_the_next_strategy_is_taken_and_that_is_told(world):
    """What decided is known by preflight alone, before anything is touched."""
    child = world.start_load()
    candidate = replace(candidate_of(child.pid), no_checkpoint=Obstacle(Reason.NO_CHECKPOINT, "nobody says how"))
    asked = world.plan(
        child.pid, strategy=StrategyName.CHECKPOINT, candidate=candidate, fallbacks=(StrategyName.RESTART,)
    )
    done = await world.final(await world.mover.start(asked))
    assert (done.state, done.strategy) == (MoveState.DONE, StrategyName.RESTART)
    steps = {step.state: step.detail for step in world.journal.timeline(done.id)}
    assert "not by checkpoint: nobody says how" in steps["preflighted"]
    assert not world.journal.job(done.job).restart_safe or candidate.restart_safe


async def test_where_no_strategy_is_open_the_reason_is_that_of_the_best_one(world):
    child = world.start_load()
    rewritten = replace(candidate_of(child.pid).leader, argv_rewritten=True)
    candidate = replace(
        candidate_of(child.pid), leader=rewritten, no_checkpoint=Obstacle(Reason.NO_CHECKPOINT, "nobody says how")
    )
    asked = world.plan(
        child.pid, strategy=StrategyName.CHECKPOINT, candidate=candidate, fallbacks=(StrategyName.RESTART,)
    )
    ended = await world.final(await world.mover.start(asked))
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.NO_CHECKPOINT)
    assert child.poll() is None
