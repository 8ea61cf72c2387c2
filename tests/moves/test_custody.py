"""After *done*: dead workers, failures soon after a restart, restarts of the controller; one copy at most, always."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from moves_world import candidate_of, crash_and_restart

from offloader.errors import NodeUnreachable
from offloader.model import AttemptState, JobState, MoveState, Reason

pytestmark = pytest.mark.slow


async def moved(world, *options, **changes):
    """A load that has just been moved."""
    original = world.start_load(*options)
    move = await world.mover.start(world.plan(original.pid, **changes))
    done = await world.final(move)
    assert done.state is MoveState.DONE, done.detail
    return move


async def one_copy(world, copies):
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["chain"]) == copies
    assert report["running"] == [report["chain"][-1]["start_id"]]


def unsafe(world, pid):
    return replace(candidate_of(pid), restart_safe=False)


async def test_a_job_whose_worker_died_runs_on_another_one_to_its_end(world):
    move = await moved(world, "--duration=9")
    await world.kill_launcher(move, await world.attempt(move, 1))
    again = await world.attempt(move, 2)
    assert (again.node, again.submission_id) == ("spare", f"{move.job}-2")
    await one_copy(world, 3)
    job = await world.over(move)
    assert (job.state, job.completion.exit_code) == (JobState.SUCCEEDED, 0)
    assert world.told() == ["relaunched"]
    assert world.tools.capsules.get(move.job) is None
    assert world.journal.reserved() == {}


async def test_a_job_that_may_not_run_again_is_lost_and_that_is_told(world):
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid, candidate=unsafe(world, original.pid)))
    assert (await world.final(move)).state is MoveState.DONE
    await world.kill_launcher(move, await world.attempt(move, 1))
    job = await world.over(move)
    assert job.state is JobState.LOST
    assert world.told() == ["lost"]
    assert "not declared" in world.incidents[0].detail
    await asyncio.sleep(1.2)
    assert world.witness.report()["running"] == []
    assert world.journal.reserved() == {}


async def test_a_job_is_started_again_twice_and_no_more(world):
    move = await moved(world)
    for epoch in (1, 2, 3):
        await world.kill_launcher(move, await world.attempt(move, epoch))
    assert (await world.over(move)).state is JobState.LOST
    assert world.told() == ["relaunched", "relaunched", "lost"]
    assert world.witness.report()["overlaps"] == 0
    assert len(world.journal.attempts(move.job)) == 4


async def test_without_a_place_it_waits_and_says_so_and_goes_when_there_is_one(world):
    world.full.update(("worker", "spare"))
    move = await moved(world)
    await world.kill_launcher(move, await world.attempt(move, 1))
    async with asyncio.timeout(30):
        while "no_place" not in world.told():
            await asyncio.sleep(0.05)
    assert world.journal.attempts(move.job)[-1].node == ""
    world.full.clear()
    await world.attempt(move, 2)
    assert world.told() == ["no_place", "relaunched"]
    await one_copy(world, 3)


async def test_the_kill_switch_keeps_a_lost_job_from_starting_again_until_it_is_off(world):
    move = await moved(world)
    world.forbidden.append((Reason.KILL_SWITCH, "the file `disabled` is there"))
    await world.kill_launcher(move, await world.attempt(move, 1))
    async with asyncio.timeout(30):
        while "no_place" not in world.told():
            await asyncio.sleep(0.05)
    assert "KILL_SWITCH" in world.incidents[-1].detail
    world.forbidden.clear()
    await world.attempt(move, 2)
    await one_copy(world, 3)


async def test_a_job_that_waits_for_a_place_is_cancelled_by_its_owner(world):
    world.full.update(("worker", "spare"))
    move = await moved(world)
    await world.kill_launcher(move, await world.attempt(move, 1))
    async with asyncio.timeout(30):
        while "no_place" not in world.told():
            await asyncio.sleep(0.05)
    await world.mover.cancel(move.id, by_uid=0)
    assert (await world.over(move)).state is JobState.CANCELLED
    assert world.tools.capsules.get(move.job) is None


async def test_a_worker_that_cannot_start_it_is_passed_over_the_next_time(world):
    move = await moved(world)
    (world.root / "spare").mkdir()
    (world.root / "spare" / "attempts").write_text("no directory")
    await world.kill_launcher(move, await world.attempt(move, 1))
    again = await world.attempt(move, 3)
    assert again.node == "worker"
    await one_copy(world, 3)


async def test_a_worker_whose_backend_is_dead_is_passed_over_at_once(world):
    """Its sshd and exporter are up, so it is offered: the backend's word counts."""
    move = await moved(world)
    world.backend.dead.add(world.tools.agents["spare"].node.address)
    await world.kill_launcher(move, await world.attempt(move, 1))
    again = await world.attempt(move, 3)
    assert again.node == "worker"
    assert f"{move.job}-2" not in world.backend.entries
    await one_copy(world, 3)


@pytest.mark.parametrize("state", [AttemptState.PENDING, AttemptState.UNKNOWN])
async def test_a_controller_that_dies_while_it_starts_a_job_again(world, state):
    move = await moved(world)
    await world.kill_launcher(move, await world.attempt(move, 1))
    async with asyncio.timeout(30):
        while (newest := world.journal.attempts(move.job)[-1]).epoch != 2 or newest.state is not state:
            await asyncio.sleep(0.002)
    await crash_and_restart(world)
    async with asyncio.timeout(60):
        while world.journal.attempts(move.job)[-1].state is not AttemptState.RUNNING:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["running"]) == 1


async def test_a_worker_dies_while_the_controller_is_away(world):
    move = await moved(world)
    first = await world.attempt(move, 1)
    await crash_and_restart(world, while_away=lambda: world.kill_launcher(move, first))
    await world.attempt(move, 2)
    await one_copy(world, 3)


SCRIPT = """\
exec 9>"{output}"
case "${{OFFLOADING_TASK_ID##*.}}" in
  1) sleep {elsewhere}; exit 1 ;;
  2) {again} ;;
esac
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo line >&9; sleep {pause}; done
exit {code}
"""


@asynccontextmanager
async def truncating(world, **values):
    """A job that truncates its output when it starts, and fails where it is the successor."""
    output = world.root / "shared.out"
    script = world.root / "job.sh"
    script.write_text(
        SCRIPT.format(**{"output": output, "pause": 0.2, "code": 0, "elsewhere": 0, "again": ":", **values})
    )
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", str(script), start_new_session=True, cwd=world.root, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while not output.exists() or output.stat().st_size == 0:
                await asyncio.sleep(0.05)
        yield child, output
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


@pytest.mark.parametrize(("elsewhere", "ends"), [(0, MoveState.ROLLED_BACK), (8, MoveState.DONE)])
async def test_a_successor_that_truncates_the_output_and_fails_costs_no_data(world, elsewhere, ends):
    """Before ownership the roll-back, after it the restart at the source: whole output, and the job completes."""
    async with truncating(world, elsewhere=elsewhere) as (original, output):
        move = await world.mover.start(world.plan(original.pid))
        assert (await world.final(move)).state is ends
        assert await original.wait() == -signal.SIGKILL
        again = await world.attempt(move, 2)
        assert (again.node, again.backend) == ("head", "local")
        job = await world.over(move)
    assert (job.state, job.completion.exit_code) == (JobState.SUCCEEDED, 0)
    assert output.read_bytes() == b"line\n" * 20
    quarantined = [incident.quarantine for incident in world.incidents if incident.quarantine]
    assert quarantined == (["root:sh"] if ends is MoveState.DONE else [])
    assert world.tools.capsules.get(move.job) is None
    assert world.journal.reserved() == {}


async def test_a_job_that_fails_at_once_at_its_source_has_its_exit_code_kept(world):
    """Before anybody could pass it ownership: that it ran, and how it ended, is known all the same."""
    async with truncating(world, again="exit 4") as (original, _output):
        move = await world.mover.start(world.plan(original.pid))
        assert (await world.final(move)).state is MoveState.ROLLED_BACK
        job = await world.over(move)
    assert (job.state, job.completion.exit_code) == (JobState.FAILED, 4)


async def test_the_kill_switch_does_not_keep_a_job_from_its_own_source(world):
    """A roll-back has ended the original, perhaps for that very switch: the job must not stand still."""
    async with truncating(world) as (original, _output):
        move = await world.mover.start(world.plan(original.pid))
        await world.reached(move, "go")
        world.forbidden.append((Reason.KILL_SWITCH, "the file `disabled` is there"))
        assert (await world.final(move)).state is MoveState.ROLLED_BACK
        assert (await world.over(move)).state is JobState.SUCCEEDED


async def test_a_job_that_fails_at_its_source_too_has_failed(world):
    """Elsewhere soon after its restart, then where its user had started it: that is its own result."""
    move = await moved(world, "--duration=7", "--exit-code=7")
    job = await world.over(move)
    assert (job.state, job.completion.exit_code) == (JobState.FAILED, 7)
    assert [attempt.node for attempt in world.journal.attempts(move.job)] == ["head", "worker", "head"]
    assert world.told() == ["failed_early", "relaunched"]
    assert world.witness.report()["overlaps"] == 0


@pytest.mark.parametrize("safe", [True, False])
async def test_an_original_that_is_killed_while_frozen(world, safe):
    """Nothing is left of the job: started again where that is harmless, and lost, said so, where it is not."""
    original = world.start_load()
    candidate = replace(candidate_of(original.pid), restart_safe=safe)
    move = await world.mover.start(world.plan(original.pid, candidate=candidate))
    await world.reached(move, "go")
    original.kill()
    await world.mover.cancel(move.id, by_uid=0)
    ended = await world.final(move)
    if safe:
        assert ended.state is MoveState.ROLLED_BACK
        assert (await world.attempt(move, 2)).node == "head"
    else:
        assert ended.state is MoveState.LOST
        assert world.journal.job(move.job).state is JobState.LOST
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["running"]) == int(safe)


async def test_a_supervisor_that_starts_the_original_again_is_told_of(world):
    """Two copies run then, and only people can say which one is wanted: nothing is killed."""
    original = world.start_load("--duration=60")
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, "ended")
    world.start_load("--duration=60")
    assert (await world.final(move)).state is MoveState.DONE
    async with asyncio.timeout(40):
        while "respawned" not in world.told():
            await asyncio.sleep(0.05)
    (incident,) = world.incidents
    assert incident.quarantine == "root:python3"
    assert world.journal.job(move.job).state is JobState.RUNNING


async def test_a_cancel_reaches_a_job_whose_worker_was_out_of_reach(world, monkeypatch):
    """It is kept until the worker answers, and what has died meanwhile is not started again."""
    move = await moved(world)
    first = await world.attempt(move, 1)
    agent = world.tools.agents["worker"]
    away = [True]

    def cut(real):
        async def maybe(*arguments, **options):
            if away[0]:
                raise NodeUnreachable("no route")
            return await real(*arguments, **options)

        return maybe

    launcher = (await agent.verb("status", agent.attempt_dir(move.job, first.epoch)))["pid"]
    monkeypatch.setattr(agent, "verb", cut(agent.verb))
    monkeypatch.setattr(agent, "link", cut(agent.link))
    os.kill(launcher, signal.SIGKILL)
    async with asyncio.timeout(20):
        while "out_of_reach" not in world.told():
            await asyncio.sleep(0.05)
    assert world.journal.job(move.job).state is JobState.UNKNOWN
    await world.mover.cancel(move.id, by_uid=0)
    away[0] = False
    assert (await world.over(move)).state is JobState.CANCELLED
    assert len(world.journal.attempts(move.job)) == 2


def busy_with(directory: str) -> list[str]:
    """The processes whose command line names that directory."""
    lines = {entry.name: entry / "cmdline" for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = []
    for pid, line in lines.items():
        with suppress(OSError):
            found += [pid] * (os.fsencode(directory) in line.read_bytes().split(b"\0"))
    return found


def power_cycle(world, move, original):
    """What a reboot of the head leaves: the directory of a guard of another boot; no guard, no original."""

    async def act():
        directory = world.root / "head" / "moves" / move.id
        keep = json.loads((directory / "state.json").read_bytes())
        os.kill(original.pid, signal.SIGKILL)
        (directory / "state.json").write_text(json.dumps({**keep, "boot_id": "before", "state": keep["state"]}))
        os.kill(keep["pid"], signal.SIGKILL)  # its keeper finds another boot, as the next guard will
        for state in Path("/sys/fs/cgroup/freezer").rglob(f"grid-offload-{move.id}/freezer.state"):
            state.write_text("THAWED")
        for freeze in Path("/sys/fs/cgroup").rglob(f"grid-offload-{move.id}/cgroup.freeze"):
            freeze.write_text("0")
        await asyncio.to_thread(original.wait, 10)
        for directory in Path("/sys/fs/cgroup").rglob(f"grid-offload-{move.id}"):
            directory.rmdir()

    return act


@pytest.mark.parametrize("safe", [True, False])
async def test_a_head_that_was_booted_while_the_original_was_frozen(world, safe):
    """The original is gone with the boot, the successor by its lease: again where that is harmless, else lost."""
    original = world.start_load()
    candidate = replace(candidate_of(original.pid), restart_safe=safe)
    move = await world.mover.start(world.plan(original.pid, candidate=candidate))
    await world.reached(move, "go")
    await crash_and_restart(world, while_away=power_cycle(world, move, original))
    ended = await world.final(move)
    if safe:
        assert ended.state is MoveState.ROLLED_BACK, ended.detail
        assert (await world.attempt(move, 2)).node == "head"
    else:
        assert ended.state is MoveState.LOST
        assert "lost" in world.told()
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["running"]) == int(safe)
    async with asyncio.timeout(10):
        while busy_with(world.tools.agents["head"].move_dir(move.id)):
            await asyncio.sleep(0.1)


async def test_a_head_that_was_booted_after_the_successor_owned(world):
    """The original is gone with the boot: the successor is what runs, and is followed."""
    original = world.start_load("--duration=12")
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, "owned")
    await crash_and_restart(world, while_away=power_cycle(world, move, original))
    assert (await world.final(move)).state is MoveState.DONE
    assert world.journal.attempts(move.job)[-1].node == "worker"
    assert (await world.over(move)).state is JobState.SUCCEEDED
    assert world.witness.report()["overlaps"] == 0
