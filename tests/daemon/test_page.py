"""The TCP listener's page and actions: nothing without the token, nothing for other hosts, and what changes arrives."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from offloader.daemon.api import stream
from offloader.daemon.api.gate import Gate
from offloader.daemon.api.public import public_app
from offloader.daemon.api.server import Server
from offloader.model import Mode

from .controller_world import World, ticks

TOKEN = "a-token-for-tests"
PAGE = Path(stream.__file__).parent / "page"
ASKED = (
    ("GET", "/v1/status"),
    ("GET", "/v1/stream"),
    ("GET", "/v1/scan"),
    ("GET", "/v1/moves"),
    ("GET", "/v1/events"),
    ("GET", "/v1/proposals"),
    ("POST", "/v1/auto"),
    ("POST", "/v1/moves"),
    ("POST", "/v1/moves/offload_1_1/cancel"),
    ("POST", "/v1/proposals/proposal_1_1/approve"),
    ("POST", "/v1/proposals/proposal_1_1/decline"),
    ("POST", "/v1/anything"),
)


class Served:
    def __init__(self, session: aiohttp.ClientSession, port: int, server: Server) -> None:
        self.session, self.port, self.server = session, port, server

    def ask(self, method: str, path: str, *, token: str | None = TOKEN, body: object = None, **headers: str):
        given = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return self.session.request(
            method,
            f"http://127.0.0.1:{self.port}{path}",
            headers={**given, **headers},
            data=json.dumps(body).encode() if body is not None else None,
        )


@asynccontextmanager
async def serving(world: World, token: str | None = TOKEN) -> AsyncIterator[Served]:
    server = Server()
    gate = Gate(token, frozenset({"localhost", "head.example.org"}))
    app = public_app(world.desk, webhook=None, metrics=lambda: b"", ready=lambda: None, gate=gate)
    port = await server.listen_tcp(app, "127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        try:
            yield Served(session, port, server)
        finally:
            await server.close()


@pytest.fixture
async def served(world: World) -> AsyncIterator[Served]:
    async with serving(world) as one:
        yield one


@pytest.mark.parametrize(("method", "path"), ASKED)
@pytest.mark.parametrize("token", [None, "", "wrong", f"{TOKEN}x", TOKEN[:-1]])
async def test_nothing_is_told_or_done_without_the_token(served, world, method, path, token) -> None:
    async with served.ask(method, path, token=token, body={} if method == "POST" else None) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "cluster" not in await answer.text()
    assert world.mover.orders == []


async def test_a_token_in_the_address_is_none(served) -> None:
    async with served.ask("GET", f"/v1/status?token={TOKEN}&access_token={TOKEN}", token=None) as answer:
        assert answer.status == 401


async def test_without_a_token_file_it_is_closed(world) -> None:
    async with serving(world, token=None) as served, served.ask("GET", "/v1/status", token="") as answer:
        assert answer.status == 403
        assert "webhook_token_file" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/v1/status"])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9778", 200),
        ("HEAD.example.org", 200),
        ("127.0.0.1:9778", 200),
        ("[::1]:9778", 200),
        ("evil.example.org", 403),
        ("head.example.org.evil.net", 403),
        ("localhost.evil.net:9778", 403),
    ],
)
async def test_a_name_that_was_made_to_point_here_gets_nothing(served, path, host, status) -> None:
    async with served.ask("GET", path, Host=host) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("origin", "status"), [("http://127.0.0.1:{port}", 200), ("https://evil.net", 403), ("null", 403)]
)
async def test_another_sites_page_does_nothing_even_with_the_token(served, origin, status) -> None:
    headers = {"Origin": origin.format(port=served.port)}
    async with served.ask("POST", "/v1/auto", body={"enabled": False}, **headers) as answer:
        assert answer.status == status


@pytest.mark.parametrize("name", sorted(path.name for path in PAGE.iterdir()))
async def test_every_file_comes_with_the_strictest_policy(served, name) -> None:
    async with served.ask("GET", "/" if name == "index.html" else f"/page/{name}", token=None) as answer:
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"].endswith("charset=utf-8")


def test_the_page_loads_nothing_from_elsewhere_and_makes_no_markup_of_text() -> None:
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|style=|onclick=\"", text
        ), path


async def test_what_the_socket_alone_serves_is_not_there(served) -> None:
    for path in ("/v1/mine", "/v1/keeps", "/v1/reload", "/v1/moves/offload_1_1/logs"):
        async with served.ask("GET", path) as answer:
            assert answer.status in (404, 405)


async def messages(response: aiohttp.ClientResponse) -> AsyncIterator[dict]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def test_what_changes_arrives_without_asking_again(served, world) -> None:
    world.switches.enable(Mode.APPROVE)
    async with asyncio.timeout(20), served.ask("GET", "/v1/stream") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        coming = messages(answer)
        assert (await anext(coming))["status"]["proposals"] == []
        await ticks(world, world.controller, 1)
        shown = await anext(coming)
        [held] = shown["status"]["proposals"]
        assert shown["events"][-1]["kind"] == "proposal"
        async with served.ask("POST", f"/v1/proposals/{held['id']}/approve", body={}) as approved:
            assert (await approved.json())["move"]["state"] == "planned"
        while not shown["status"]["moves_in_flight"]:
            shown = await anext(coming)
        assert any("with the token" in event.message for event in world.journal.events())


async def test_pages_that_stay_open_do_not_hold_up_the_end_of_the_controller(world, monkeypatch) -> None:
    async with asyncio.timeout(20), serving(world) as served, served.ask("GET", "/v1/stream") as answer:
        await anext(messages(answer))
        began = asyncio.get_running_loop().time()
        await served.server.close()
        assert asyncio.get_running_loop().time() - began < 1.9, "not by the time-out of the server"


async def test_more_pages_than_anybody_needs_are_turned_away(served, monkeypatch) -> None:
    monkeypatch.setattr(stream, "_MOST", 1)
    async with served.ask("GET", "/v1/stream") as first:
        await anext(messages(first))
        async with served.ask("GET", "/v1/stream") as second:
            assert second.status == 503


async def test_one_document_serves_everybody_who_watches(served, world, monkeypatch) -> None:
    asked = []
    original = world.desk.status

    async def counted(caller):
        asked.append(caller)
        return await original(caller)

    monkeypatch.setattr(world.desk, "status", counted)
    async with served.ask("GET", "/v1/stream") as first, served.ask("GET", "/v1/stream") as second:
        await anext(messages(first))
        await anext(messages(second))
    assert len(asked) <= 2
