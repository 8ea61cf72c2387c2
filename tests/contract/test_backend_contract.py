"""What every backend must do, tried on every one of them: in memory, and on the real thing."""

import asyncio
import itertools
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from offloader.backends import (
    BACKENDS,
    Backend,
    FakeBackend,
    NodeAddress,
    RayBackend,
    Submission,
    SubmissionState,
    SubmissionStatus,
)
from offloader.errors import BackendError
from offloader.model import Capacity
from offloader.ports import Completed, LineChannel

ADDRESS = "127.0.0.2"
HERE = NodeAddress("here", ADDRESS)
NOWHERE = NodeAddress("nowhere", "127.9.9.9")
ids = (f"01JD7Q3ZK8V5X9N2M4B6{number:06d}-{os.getpid()}" for number in itertools.count())


@dataclass
class Setup:
    """A working backend, and the same kind of backend in trouble."""

    working: Backend
    down: Backend
    refused: Backend
    slow: Backend


class ThisMachine:
    """A Host that runs commands here, and ends them with whoever waits for them."""

    name = "here"

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 10.0) -> Completed:
        assert not stdin
        assert timeout_s > 3600  # a job may take its time
        process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL)
        try:
            return Completed(await process.wait(), b"", b"")
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise

    async def open(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> LineChannel:
        raise NotImplementedError


async def fake_setup() -> AsyncIterator[Setup]:
    made = [FakeBackend(frozenset({ADDRESS}), {"here": ThisMachine()}, timeout_s=0.5) for _ in range(4)]
    working, down, refused, slow = made
    down.down, refused.refuse, slow.delay_s = True, "the token is not right", 60.0
    yield Setup(working, down, refused, slow)
    for backend in made:
        await backend.close()


async def ray_setup(head, folder: Path) -> AsyncIterator[Setup]:
    wrong = folder / "wrong"
    wrong.touch(0o600)
    wrong.write_text("0" * 64)
    with socket.create_server((ADDRESS, 0)) as free:
        closed = f"http://{ADDRESS}:{free.getsockname()[1]}"
    with socket.create_server((ADDRESS, 0)) as silent:  # accepts, as the kernel does, and never answers
        made = [
            RayBackend(head.url, head.token_file),
            RayBackend(closed, head.token_file),
            RayBackend(head.url, wrong),
            RayBackend(f"http://{ADDRESS}:{silent.getsockname()[1]}", head.token_file, timeout_s=0.5),
        ]
        yield Setup(*made)
        for backend in made:
            await backend.close()


MARKS = {RayBackend: [pytest.mark.ray]}


@pytest.fixture(
    params=[
        pytest.param(kind, marks=[pytest.mark.ray] if kind is RayBackend else [], id=kind.name) for kind in BACKENDS
    ]
)
async def setup(request, tmp_path) -> AsyncIterator[Setup]:
    if request.param is RayBackend:
        made = ray_setup(request.getfixturevalue("ray_head"), tmp_path)
    elif request.param is FakeBackend:
        made = fake_setup()
    else:
        pytest.fail(f"say here how a {request.param.name} for tests is made")
    async for one in made:
        yield one


@pytest.fixture
def backend(setup) -> Backend:
    working: Backend = setup.working
    return working


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def submission(argv: tuple[str, ...], node: NodeAddress = HERE) -> Submission:
    return Submission(next(ids), node, argv, Capacity(0.5, 50_000_000), {"job": "x", "epoch": "1"})


async def until(true: Callable[[], Awaitable[bool]], within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not await true():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.05)


async def ended(backend: Backend, submission_id: str) -> SubmissionStatus:
    async def final() -> bool:
        return (await backend.status(submission_id)).state.final

    await until(final)
    return await backend.status(submission_id)


async def running(backend: Backend, submission_id: str, sign: Path) -> None:
    async def there() -> bool:
        return sign.exists() and (await backend.status(submission_id)).state is SubmissionState.RUNNING

    await until(there)


async def test_every_argument_arrives_as_it_was_given(backend, tmp_path):
    """No shell may read anything into them."""
    words = ("a b", "it's", '"', "$HOME", "`id`", "x\ny", "*", ";", "", "-n", "ü")
    code = "import json, sys; open(sys.argv[1], 'w').write(json.dumps(sys.argv[2:]))"
    one = submission(python(code, str(tmp_path / "argv"), *words))
    assert await backend.submit(one) == one.id
    status = await ended(backend, one.id)
    assert (status.state, status.exit_code) == (SubmissionState.SUCCEEDED, 0)
    assert tuple(json.loads((tmp_path / "argv").read_text())) == words


async def test_the_same_id_runs_once_also_after_its_end(backend, tmp_path):
    """A submission whose answer was lost is simply sent again."""
    one = submission(python("import sys; open(sys.argv[1], 'a').write('ran\\n')", str(tmp_path / "runs")))
    await asyncio.gather(*(backend.submit(one) for _ in range(3)))
    await ended(backend, one.id)
    assert await backend.submit(one) == one.id
    assert (await backend.status(one.id)).state is SubmissionState.SUCCEEDED
    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.parametrize("code", ["import sys; sys.exit(7)", "import os; os.kill(os.getpid(), 9)"])
async def test_a_command_that_fails_is_failed_with_its_exit_code(backend, code):
    one = submission(python(code))
    await backend.submit(one)
    status = await ended(backend, one.id)
    assert (status.state, status.exit_code) == (SubmissionState.FAILED, 7 if "exit" in code else -9)


async def test_a_command_that_does_not_exist_is_failed(backend):
    one = submission(("/nonexistent/launcher", "hold"))
    await backend.submit(one)
    assert (await ended(backend, one.id)).state is SubmissionState.FAILED


async def test_work_for_a_node_that_is_not_there_runs_nowhere_else_and_can_be_stopped(backend, tmp_path):
    """It waits; stopped, it may be called pending or stopped, but nothing has run."""
    one = submission(python("import sys; open(sys.argv[1], 'w')", str(tmp_path / "ran")), NOWHERE)
    await backend.submit(one)
    assert (await backend.status(one.id)).state is SubmissionState.PENDING
    await backend.stop(one.id)
    assert (await backend.status(one.id)).state in {SubmissionState.PENDING, SubmissionState.STOPPED}
    other = submission(python("pass"))
    await backend.submit(other)
    assert (await ended(backend, other.id)).state is SubmissionState.SUCCEEDED  # later work was done meanwhile
    assert not (tmp_path / "ran").exists()


async def test_stopping_ends_the_command_and_stopping_again_is_fine(backend, tmp_path):
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    one = submission(python(code, str(tmp_path / "pid")))
    await backend.submit(one)
    await running(backend, one.id, tmp_path / "pid")
    await backend.stop(one.id)
    assert (await ended(backend, one.id)).state is SubmissionState.STOPPED
    pid = int((tmp_path / "pid").read_text())

    async def gone() -> bool:
        return not Path(f"/proc/{pid}").exists()

    await until(gone)
    await backend.stop(one.id)
    assert (await backend.status(one.id)).state is SubmissionState.STOPPED


async def test_an_unknown_id_is_not_found_which_is_no_end_and_stopping_it_is_fine(backend):
    found = await backend.status("01JD7Q3ZK8V5X9N2M4B6C8D0EF-9")
    assert found.state is SubmissionState.NOT_FOUND
    assert not found.state.final
    await backend.stop("01JD7Q3ZK8V5X9N2M4B6C8D0EF-9")


async def test_nodes_that_are_alive_are_listed_by_address(backend):
    assert HERE.address in await backend.alive_nodes()
    assert NOWHERE.address not in await backend.alive_nodes()


@pytest.mark.parametrize(
    ("trouble", "says"), [("down", "does not answer"), ("refused", "token"), ("slow", "within 0.5 s")]
)
async def test_trouble_is_an_error_in_time_and_never_a_state(setup, trouble, says):
    """Neither 'not found' nor 'no nodes': what the outside system would have said is not known."""
    backend = getattr(setup, trouble)
    one = submission(python("pass"))
    for call in (
        lambda: backend.submit(one),
        lambda: backend.status(one.id),
        lambda: backend.stop(one.id),
        backend.alive_nodes,
    ):
        began = time.monotonic()
        with pytest.raises(BackendError, match=says):
            await call()
        assert time.monotonic() - began < 10


@pytest.mark.ray
async def test_rays_token_is_read_anew_and_must_be_private(ray_head, tmp_path):
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("0" * 64)
    backend = RayBackend(ray_head.url, token)
    with pytest.raises(BackendError, match=r"must hold the token"):
        await backend.alive_nodes()
    token.write_text(ray_head.token_file.read_text())
    assert HERE.address in await backend.alive_nodes()
    token.chmod(0o644)
    with pytest.raises(BackendError, match="chmod 600"):
        await backend.alive_nodes()
    token.unlink()
    with pytest.raises(BackendError, match="cannot be read"):
        await backend.alive_nodes()
    await backend.close()


@pytest.mark.ray
async def test_no_secret_of_ours_is_in_what_ray_tells_of_a_job(ray_head, tmp_path, monkeypatch):
    """The controller's own environment and token stay out of Ray's API."""
    monkeypatch.setenv("OUR_SECRET", "hunter2hunter2")
    backend = RayBackend(ray_head.url, ray_head.token_file)
    one = submission(python("pass"))
    await backend.submit(one)
    await ended(backend, one.id)
    told = json.dumps(await backend._call(lambda client: client._do_request("GET", f"/api/jobs/{one.id}").json()))
    await backend.close()
    assert "hunter2" not in told
    assert ray_head.token_file.read_text() not in told
