"""`run`, `attach`, `logs`, `cancel` and `status` of a job as people use them: a real socket, launchers and signals."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from moves_world import World, crash_and_restart

from offloader.daemon.api.caller import Permissions
from offloader.daemon.api.routes import control_app
from offloader.daemon.api.server import Server
from offloader.daemon.decisions import DecisionLog
from offloader.daemon.runs import Runs
from offloader.model import JobState, Policy

pytestmark = pytest.mark.slow


class Desk:
    """The part of the controller's desk that has to do with jobs, over the world's mover."""

    def __init__(self, world: World) -> None:
        self._world = world
        decisions = DecisionLog(world.journal)
        parts = SimpleNamespace(
            records_only=None,
            acting=world.mover,
            backend="fake",
            store=world.journal,
            clock=world.tools.clock,
            decisions=decisions,
        )
        policy = Policy(head="head", own_uid=os.getuid(), min_uid=0)
        controller = SimpleNamespace(parts=parts, setup=SimpleNamespace(policy=policy))
        self._runs = Runs(controller, Permissions(os.getuid()))

    async def run(self, caller, request):
        return await self._runs.run(caller, request)

    async def job(self, caller, job_id):
        return await self._runs.show(caller, job_id)

    async def end_job(self, caller, job_id):
        return await self._runs.end(caller, job_id)

    async def output(self, caller, job_id, request):
        wanted = {name: getattr(request, name) for name in ("epoch", "stream", "offset", "follow")}
        return await self._runs.output(caller, job_id, **wanted)


@dataclass
class Bench:
    """A controller's socket, and command lines that end with the test."""

    world: World
    path: Path
    server: Server
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self, *words: str, **options) -> asyncio.subprocess.Process:
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = (sys.executable, "-m", "offloader.cli", "--socket", str(self.path), *words)
        one = await asyncio.create_subprocess_exec(*command, cwd=self.world.root, start_new_session=True, **given)
        self.started.append(one)
        return one

    async def say(self, *words: str, **options) -> tuple[int, bytes, bytes]:
        """One command line to its end: exit code, output, errors."""
        one = await self.start(*words, **options)
        async with asyncio.timeout(60):
            out, err = await one.communicate()
        return one.returncode, out, err

    async def restart_controller(self) -> None:
        await self.server.close()
        await crash_and_restart(self.world)
        self.server = await serve(self.world, self.path)

    @property
    def job(self):
        return self.world.journal.jobs()[0]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)


async def serve(world: World, path: Path) -> Server:
    server = Server()
    await server.listen_unix(control_app(Desk(world)), path)
    return server


@pytest.fixture
async def bench(world) -> AsyncIterator[Bench]:
    path = world.root / "control.sock"
    made = Bench(world, path, await serve(world, path))
    yield made
    for one in made.started:
        if one.returncode is None:
            one.kill()
            await one.wait()
    await made.server.close()
    for job in made.world.journal.followed_jobs():
        await made.world.mover.end(job.id)
    await made.until(lambda: not made.world.journal.followed_jobs())


async def read_until(stream: asyncio.StreamReader, text: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(30):
        while text not in seen:
            data = await stream.read(4096)
            assert data, seen
            seen += data
    return seen


async def test_output_errors_and_exit_code_come_back_apart_and_byte_for_byte(bench):
    script = "printf 'out\\377'; printf 'err\\n' >&2; exit 7"
    code, out, err = await bench.say("run", "--", "sh", "-c", script)
    assert (code, out) == (7, b"out\xff")
    assert err.decode().splitlines() == [f"job {bench.job.id}", "err"]


async def test_where_ours_go_to_one_place_its_outputs_do_too_in_their_order(bench):
    script = "echo 1; echo 2 >&2; echo 3; echo 4 >&2"
    code, out, _ = await bench.say("run", "--", "sh", "-c", script, stderr=subprocess.STDOUT)
    assert (code, out.split()[2:]) == (0, [b"1", b"2", b"3", b"4"])


async def test_a_signal_that_ended_it_is_told_as_shells_do(bench):
    assert (await bench.say("run", "--", "sh", "-c", "kill -9 $$"))[0] == 128 + 9


async def test_options_end_at_the_dashes_and_no_shell_reads_the_command(bench):
    code, out, _ = await bench.say("run", "--env", "X=a b", "--", "printenv", "-0", "X")
    assert (code, out) == (0, b"a b\0")
    assert (await bench.say("run", "echo", "$HOME;", "--detach"))[1] == b"$HOME; --detach\n"


async def test_what_cannot_run_says_so_by_its_exit_code(bench):
    (bench.world.root / "plain").write_text("no program")
    assert (await bench.say("run", "--", "no-such-program"))[0] == 127
    assert (await bench.say("run", "--", "./plain"))[0] == 126
    code, _, err = await bench.say("run", "-t", "nowhere", "--", "true")
    assert (code, bench.world.journal.jobs()) == (125, ())
    assert b"error" in err
    await bench.server.close()
    assert (await bench.say("run", "--", "true"))[0] == 125
    assert (await bench.say("run", "--detach", "--", "true"))[0] == 3


async def test_detached_it_is_found_again_by_status_logs_attach_and_cancel(bench):
    code, out, _ = await bench.say("run", "--detach", "--", "sh", "-c", "echo begun; exec sleep 600")
    name = out.decode().strip()
    assert (code, name) == (0, bench.job.id)
    attached = await bench.start("attach", name)
    await read_until(attached.stdout, b"begun\n")
    shown = json.loads((await bench.say("status", name, "--format", "json"))[1])
    assert (shown["id"], shown["state"], shown["name"]) == (name, "running", "sh")
    assert (await bench.say("logs", name))[1] == b"begun\n"
    assert (await bench.say("cancel", name))[0] == 0
    assert await attached.wait() == 128 + signal.SIGTERM
    assert bench.job.state is JobState.CANCELLED
    assert (await bench.say("attach", name))[:2] == (128 + signal.SIGTERM, b"begun\n")
    assert (await bench.say("attach", name, "--new"))[1] == b""
    assert (await bench.say("attach", "01ARZ3NDEKTSV4RRFFQ69G5FAV"))[0] == 6


async def test_a_restart_of_the_controller_in_the_middle_is_not_seen(bench):
    script = "echo 1; while [ ! -e go ]; do sleep 0.1; done; echo 2; exit 3"
    run = await bench.start("run", "--", "sh", "-c", script)
    await read_until(run.stdout, b"1\n")
    await bench.restart_controller()
    (bench.world.root / "go").touch()
    async with asyncio.timeout(60):
        rest, _ = await run.communicate()
    assert (rest, run.returncode) == (b"2\n", 3)


async def test_term_ends_the_job_and_a_lost_terminal_leaves_it_running(bench):
    leaves = await bench.start("run", "--", "sh", "-c", "echo begun; exec sleep 600")
    await read_until(leaves.stdout, b"begun\n")
    leaves.send_signal(signal.SIGHUP)
    assert await leaves.wait() == 128 + signal.SIGHUP
    assert bench.job.state is JobState.RUNNING
    ends = await bench.start("run", "--", "sh", "-c", "echo begun; exec sleep 600")
    await read_until(ends.stdout, b"begun\n")
    ends.send_signal(signal.SIGTERM)
    assert await ends.wait() == 128 + signal.SIGTERM
    await bench.until(lambda: bench.job.state is JobState.CANCELLED)


async def test_at_a_terminal_it_takes_two_interrupts_to_end_a_job(bench):
    master, slave = pty.openpty()
    try:
        run = await bench.start("run", "--", "sh", "-c", "echo begun; exec sleep 600", stdin=slave)
        await read_until(run.stdout, b"begun\n")
        run.send_signal(signal.SIGINT)
        await read_until(run.stderr, b"Ctrl-C again")
        assert bench.job.state is JobState.RUNNING
        run.send_signal(signal.SIGINT)
        assert await run.wait() == 128 + signal.SIGTERM
    finally:
        os.close(master)
        os.close(slave)


async def test_a_worker_that_dies_under_a_job_that_may_run_again(bench):
    script = "echo begun; while [ ! -e go ]; do sleep 0.1; done; echo done"
    run = await bench.start("run", "--restart-safe", "--", "sh", "-c", script)
    await read_until(run.stdout, b"begun\n")
    attempt = bench.world.journal.attempts(bench.job.id)[-1]
    agent = bench.world.tools.agents[attempt.node]
    status = await agent.verb("status", agent.attempt_dir(attempt.job, attempt.epoch))
    os.kill(status["pid"], signal.SIGKILL)
    await read_until(run.stdout, b"begun\n")
    (bench.world.root / "go").touch()
    async with asyncio.timeout(60):
        rest, said = await run.communicate()
    assert (rest, run.returncode) == (b"done\n", 0)
    assert b"starts again from its beginning" in said
