"""The client against servers that behave, misbehave, hang and die."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offloader import error_document
from offloader.client import Client
from offloader.errors import (
    ConfigError,
    ControllerUnavailable,
    MoveFailed,
    NotFound,
    NotPermitted,
    OffloaderError,
    Refused,
    UsageError,
)
from offloader.model import Obstacle, Reason

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(path: Path, answer: Answer) -> AsyncIterator[Client]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(await reader.readuntil(b"\r\n\r\n"), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(handle, str(path))
    try:
        yield Client(path, timeout_s=2.0)
    finally:
        server.close()
        await server.wait_closed()


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.0 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


def always(raw: bytes) -> Answer:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return answer


async def test_answers_are_plain_documents(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", always(http(b'{"ceiling": "observe"}'))) as client:
        assert await client.status() == {"ceiling": "observe"}


async def test_no_controller_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ControllerUnavailable, match="grid-offloader serve") as caught:
        await Client(tmp_path / "nothing").status()
    assert caught.value.exit_code == 3


async def test_a_left_over_socket_is_no_controller(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", always(b"")):
        pass
    with pytest.raises(ControllerUnavailable):
        await Client(tmp_path / "s").status()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="hangs up"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="another protocol"),
        pytest.param(b"x" * 200_000, id="no end of the head"),
        pytest.param(http(b'{"a": 1', length=500), id="dies in the middle of its answer"),
        pytest.param(http(b'["a list"]'), id="a list where an object belongs"),
    ],
)
async def test_what_does_not_answer_like_a_controller_is_none(tmp_path: Path, raw: bytes) -> None:
    async with serving(tmp_path / "s", always(raw)) as client:
        with pytest.raises(ControllerUnavailable):
            await client.status()


async def test_html_is_an_error_with_what_was_seen(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", always(http(b"<html>"))) as client:
        with pytest.raises(OffloaderError, match="<html>"):
            await client.status()


async def test_silence_ends_at_the_time_out(tmp_path: Path) -> None:
    waiting = asyncio.Event()

    async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
        await waiting.wait()

    async with serving(tmp_path / "s", silent) as client:
        client.timeout_s = 0.2
        with pytest.raises(ControllerUnavailable, match="did not answer within"):
            await client.status()
        waiting.set()


async def test_names_in_paths_cannot_become_other_requests(tmp_path: Path) -> None:
    seen = []

    async def remember(head: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(head.split(b"\r\n")[0])
        writer.write(http(b"{}"))

    async with serving(tmp_path / "s", remember) as client:
        await client.show("a/../b?c#d\r\nX: y")
    assert seen == [b"GET /v1/moves/a%2F..%2Fb%3Fc%23d%0D%0AX%3A%20y HTTP/1.0"]


@pytest.mark.parametrize(
    "error",
    [
        UsageError("wrong"),
        ConfigError(("a.yaml:1:2: first", "a.yaml:3:4: second")),
        NotFound("no such move"),
        MoveFailed("rolled back"),
        Refused(Reason.TARGET_FULL, "full", (Obstacle(Reason.TARGET_FULL, "seen", "remedy"),)),
        NotPermitted(Reason.NOT_YOURS, "not yours"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_arrive_as_what_they_were_raised_as(tmp_path: Path, error: OffloaderError) -> None:
    """The exit code of a command is the same whichever side of the socket noticed."""
    body = json.dumps(error_document.encode(error)).encode()
    raw = http(body, f"{error_document.status_of(error)} Error")
    async with serving(tmp_path / "s", always(raw)) as client:
        with pytest.raises(type(error)) as caught:
            await client.status()
    assert caught.value.exit_code == error.exit_code
    assert str(caught.value) == str(error)
    if isinstance(error, Refused):
        assert isinstance(caught.value, Refused)
        assert (caught.value.reason, caught.value.obstacles) == (error.reason, error.obstacles)


@pytest.mark.parametrize("document", [None, [], {"error": 3}, {"error": {}}, {"error": {"code": "x", "reason": ["y"]}}])
def test_an_error_without_a_sense_is_still_an_error(document: object) -> None:
    assert isinstance(error_document.decode(document, 500), OffloaderError)


def test_a_reason_of_a_newer_controller_does_not_break_an_older_client() -> None:
    document = {"error": {"code": "refused", "message": "m", "reason": "INVENTED_LATER"}}
    assert str(error_document.decode(document, 409)) == "m"


async def test_logs_come_in_pieces_as_they_are_written(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def stream(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nfirst\xff")
        await writer.drain()
        await more.wait()
        writer.write(b"second")
        await writer.drain()

    async with serving(tmp_path / "s", stream) as client:
        chunks = client.logs("offload_1_2", follow=True)
        assert await anext(chunks) == b"first\xff"
        more.set()
        assert await anext(chunks) == b"second"
        assert [chunk async for chunk in chunks] == []


async def test_logs_that_are_refused_raise(tmp_path: Path) -> None:
    body = json.dumps(error_document.encode(NotFound("no such move"))).encode()
    async with serving(tmp_path / "s", always(http(body, "404 Not Found"))) as client:
        with pytest.raises(NotFound):
            await anext(client.logs("offload_1_2"))


async def test_waiting_tells_every_change_and_ends_with_the_last(tmp_path: Path) -> None:
    states = iter(["planned", "planned", "frozen", "done"])

    async def move(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(json.dumps({"state": next(states)}).encode()))

    told: list[str] = []
    async with serving(tmp_path / "s", move) as client:
        final = await client.wait("offload_1_2", changed=lambda one: told.append(one["state"]), poll_s=0.01)
    assert final == {"state": "done"}
    assert told == ["planned", "frozen", "done"]


async def test_waiting_bears_a_controller_that_restarts(tmp_path: Path) -> None:
    path = tmp_path / "s"
    waiting = asyncio.create_task(Client(path).wait("offload_1_2", poll_s=0.01))
    await asyncio.sleep(0)
    async with serving(path, always(http(b'{"state": "done"}'))):
        assert await waiting == {"state": "done"}


async def test_waiting_ends_when_the_controller_stays_away(tmp_path: Path) -> None:
    with pytest.raises(ControllerUnavailable):
        await Client(tmp_path / "nothing").wait("offload_1_2", poll_s=0.01, patience_s=0.05)
