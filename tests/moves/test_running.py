"""`run`: a job without an original, on real launchers: exit code, output, restarts of the controller, dead workers."""

import asyncio
import base64
import os
import shutil
import signal
from pathlib import Path

import pytest
from moves_world import World, crash_and_restart, wait_for

from offloader.errors import NotPermitted, Refused
from offloader.launcher.fileprint import digest
from offloader.model import Attempt, AttemptState, Capacity, Job, JobState, Reason
from offloader.moves.order import RUN_MARK
from offloader.moves.starting import Program, RunPlan

pytestmark = pytest.mark.slow

SECRET = b"TOKEN=do-not-tell"
LONG = "echo begun; exec sleep 600"


def plan(world: World, script: str, **changes) -> RunPlan:
    """Of `/bin/sh -c SCRIPT`, asked for by this very process."""
    shell = shutil.which("sh")
    assert shell is not None
    program = Program(
        argv=(b"sh", b"-c", script.encode()),
        environ=(b"PATH=/usr/bin:/bin", SECRET),
        cwd=os.fsencode(world.root),
        umask=0o027,
        path=os.fsencode(shell),
        digest=digest(shell),
        size=Path(shell).stat().st_size,
    )
    fields = {
        "program": program,
        "uid": os.getuid(),
        "pid": os.getpid(),
        "name": "sh",
        "needs": Capacity(cores=0.2, memory_bytes=1 << 20),
        "backend": "fake",
    }
    return RunPlan(**{**fields, **changes})


async def over(world: World, job: Job) -> Job:
    async with asyncio.timeout(60):
        while (now := world.journal.job(job.id)).state in (JobState.RUNNING, JobState.UNKNOWN):
            await asyncio.sleep(0.05)
    return now


async def running(world: World, job: Job, epoch: int = 1) -> Attempt:
    async with asyncio.timeout(60):
        while True:
            last = world.journal.attempts(job.id)[-1]
            if (last.epoch, last.state) == (epoch, AttemptState.RUNNING):
                return last
            await asyncio.sleep(0.02)


async def output(world: World, job: Job, stream: int = 1) -> bytes:
    attempt = world.journal.attempts(job.id)[-1]
    pieces = [one async for one in world.mover.output(attempt, offset=0, follow=False, stream=stream)]
    return b"".join(pieces)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_job_runs_on_a_worker_as_it_was_asked_for_and_its_exit_code_is_its_own(world):
    script = f'umask; pwd; echo "$TOKEN/$MORE/${RUN_MARK}"; printf err >&2; exit 7'
    job = await world.mover.run(plan(world, script, outputs_apart=True, env={"MORE": "x y"}))
    ended = await over(world, job)
    assert (ended.state, ended.completion.exit_code) == (JobState.FAILED, 7)
    assert await output(world, job) == f"0027\n{world.root}\ndo-not-tell/x y/{job.id}\n".encode()
    assert await output(world, job, 2) == b"err"
    assert [one.epoch for one in world.journal.attempts(job.id)] == [1]
    assert world.journal.move_of_job(job.id) is None
    assert world.told() == []
    assert world.tools.capsules.get(job.id) is None
    wait_for(lambda: not world.journal.reserved(), 10)


async def test_its_environment_is_in_the_capsule_and_in_no_other_place(world):
    job = await world.mover.run(plan(world, LONG))
    await running(world, job)
    files = [path for path in world.root.rglob("*") if path.is_file() and path.parent.name != "capsules"]
    told = [path for path in files for word in (SECRET, base64.b64encode(SECRET)) if word in path.read_bytes()]
    assert len(files) > 5
    assert told == []
    assert (world.root / "capsules" / f"{job.id}.json").stat().st_mode & 0o777 == 0o600
    assert world.backend.entries[f"{job.id}-1"].submission.metadata == {"job": job.id, "epoch": "1"}
    await world.mover.end(job.id)
    assert (await over(world, job)).state is JobState.CANCELLED


async def test_it_is_ended_for_its_owner_and_nothing_of_it_is_left(world):
    job = await world.mover.run(plan(world, LONG))
    attempt = await running(world, job)
    await world.mover.end(job.id)
    ended = await over(world, job)
    assert (ended.state, ended.completion.signal) == (JobState.CANCELLED, signal.SIGTERM)
    assert not alive(attempt.pid)
    with pytest.raises(Refused, match="not running"):
        await world.mover.end(job.id)


@pytest.mark.parametrize("state", [AttemptState.PENDING, AttemptState.RUNNING])
async def test_a_controller_that_is_restarted_loses_nothing(world, state):
    job = await world.mover.run(plan(world, "echo begun; sleep 2; exit 5"))
    async with asyncio.timeout(30):
        while world.journal.attempts(job.id)[-1].state is not state:
            await asyncio.sleep(0.002)
    await crash_and_restart(world)
    ended = await over(world, job)
    assert (ended.state, ended.completion.exit_code) == (JobState.FAILED, 5)
    assert await output(world, job) == b"begun\n"


async def test_when_its_worker_dies_it_is_lost_unless_running_again_was_declared_harmless(world):
    once = await world.mover.run(plan(world, LONG))
    again = await world.mover.run(plan(world, LONG, restart_safe=True))
    for job in (once, again):
        attempt = await running(world, job)
        agent = world.tools.agents[attempt.node]
        status = await agent.verb("status", agent.attempt_dir(job.id, 1))
        os.kill(status["pid"], signal.SIGKILL)
    assert (await over(world, once)).state is JobState.LOST
    assert (await running(world, again, 2)).node == "spare"
    assert sorted(world.told()) == ["lost", "relaunched"]
    assert {one.move for one in world.incidents} == {once.id, again.id}
    await world.mover.end(again.id)
    assert (await over(world, again)).state is JobState.CANCELLED


async def test_the_worker_that_was_asked_for_is_the_only_one(world):
    job = await world.mover.run(plan(world, "exit 0", target="worker"))
    assert (await over(world, job)).state is JobState.SUCCEEDED
    assert world.journal.attempts(job.id)[-1].node == "worker"


async def test_what_no_worker_can_run_is_refused_and_leaves_nothing(world):
    given = plan(world, "exit 0")
    missing = Program(**{**_fields(given.program), "path": b"/no/such/program"})
    with pytest.raises(Refused) as refusal:
        await world.mover.run(plan(world, "exit 0", program=missing))
    assert refusal.value.reason is Reason.NO_EXECUTABLE
    world.forbidden.append((Reason.KILL_SWITCH, "the file `disabled` is there"))
    with pytest.raises(Refused) as stopped:
        await world.mover.run(given)
    assert stopped.value.reason is Reason.KILL_SWITCH
    assert world.journal.jobs() == ()
    assert list((world.root / "capsules").iterdir()) == []


async def test_nobody_runs_anything_as_somebody_else(world):
    """The pid of whoever asked was used again, by a process of another user."""
    with pytest.raises(NotPermitted):
        await world.mover.run(plan(world, "exit 0", uid=os.getuid() + 1))
    assert world.journal.jobs() == ()


async def test_a_job_that_no_worker_brings_to_life_has_failed_and_says_so(world):
    for name in ("worker", "spare"):
        (world.root / name).mkdir(exist_ok=True)
        (world.root / name / "attempts").write_text("no directory")
    job = await world.mover.run(plan(world, "exit 0"))
    ended = await over(world, job)
    assert (ended.state, ended.completion.exit_code) == (JobState.FAILED, None)
    assert world.told() == ["not_started"]
    assert len(world.journal.attempts(job.id)) == 3


def _fields(program: Program) -> dict[str, object]:
    return {name: getattr(program, name) for name in Program.__slots__}
