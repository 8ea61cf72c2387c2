"""The API on a real unix socket: who is asking, what is refused, and that nothing half-understood is acted on."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from offloader.client import Client
from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import AutoRequest, MoveRequest
from offloader.daemon.api.routes import control_app
from offloader.daemon.api.server import Server
from offloader.errors import OffloaderError, Refused
from offloader.model import Mode, Reason, Resource, StrategyName

ASK = """
import os, socket, sys
path, uid, gid, groups, request = sys.argv[1:6]
os.setgroups([int(group) for group in groups.split(",") if group])
os.setgid(int(gid))
os.setuid(int(uid))
asking = socket.socket(socket.AF_UNIX)
asking.connect(path)
asking.sendall(request.encode())
while data := asking.recv(65536):
    sys.stdout.write(data.decode())
"""


class FakeControl:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.callers: list[Caller] = []
        self.failure: Exception | None = None
        self.release = asyncio.Event()
        self.done: list[str] = []

    def _note(self, caller: Caller, *what: Any) -> dict[str, Any]:
        self.callers.append(caller)
        self.asked.append(what)
        if self.failure:
            raise self.failure
        return {"ok": True}

    async def status(self, caller):
        return self._note(caller)

    async def auto(self, caller, request):
        return self._note(caller, request)

    async def scan(self, caller, nodes, everything):
        return [self._note(caller, nodes, everything)]

    async def why(self, caller, subject):
        return self._note(caller, subject)

    async def move(self, caller, request):
        answer = self._note(caller, request)
        await self.release.wait()
        self.done.append("move")
        return answer

    async def moves(self, caller, limit):
        return [self._note(caller, limit)]

    async def show(self, caller, move_id):
        return self._note(caller, move_id)

    async def cancel(self, caller, move_id):
        return self._note(caller, move_id)

    async def logs(self, caller, move_id, offset, follow):
        self._note(caller, move_id, offset, follow)

        async def chunks() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        return chunks()

    async def rules(self, caller):
        return [self._note(caller)]

    async def events(self, caller, after, limit):
        return [self._note(caller, after, limit)]

    async def reload(self, by):
        return {"by": by}

    def may_reload(self, caller):
        self._note(caller)


@asynccontextmanager
async def serving(folder: Path, control: FakeControl) -> AsyncIterator[Path]:
    server, path = Server(), folder / "run" / "control.sock"
    await server.listen_unix(control_app(control), path)
    try:
        yield path
    finally:
        control.release.set()
        await server.close()


@pytest.fixture
async def control() -> FakeControl:
    one = FakeControl()
    one.release.set()
    return one


@pytest.fixture
async def path(tmp_path: Path, control: FakeControl) -> AsyncIterator[Path]:
    async with serving(tmp_path, control) as where:
        yield where


async def raw(path: Path, method: str, target: str, body: bytes | None = None) -> tuple[int, Any]:
    """One request as bytes: what the client would never send can be sent."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    head = f"{method} {target} HTTP/1.0\r\nHost: x\r\n"
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + (body or b""))
    answer = await reader.read()
    writer.close()
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])


async def test_everybody_may_connect(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


async def test_what_the_client_asks_arrives(path: Path, control: FakeControl) -> None:
    client = Client(path)
    await client.auto(enabled=True, mode="advise", thresholds={"cpu": 0.8, "gpu": None})
    await client.scan(nodes=["a", "b"], everything=True)
    await client.why()
    await client.why(4242)
    await client.why("offload_1_2")
    await client.move(4242, target="gpu1", strategy="restart", dry_run=True, env_vars={"A": "b=c d"})
    await client.moves(limit=5)
    await client.show("offload_1_2")
    await client.cancel("offload_1_2")
    await client.events(after=7, limit=3)
    assert [chunk async for chunk in client.logs("offload_1_2", offset=9, follow=True)] == [b"onetwo"]
    assert await client.reload() == {"by": Caller(0, os.geteuid(), 0, frozenset()).name}
    thresholds = {Resource.CPU: 0.8, Resource.GPU: None}
    move = MoveRequest(4242, "gpu1", StrategyName.RESTART, dry_run=True, env_vars={"A": "b=c d"})
    assert control.asked == [
        (AutoRequest(True, Mode.ADVISE, thresholds),),
        (("a", "b"), True),
        (None,),
        (4242,),
        ("offload_1_2",),
        (move,),
        (5,),
        ("offload_1_2",),
        ("offload_1_2",),
        (7, 3),
        ("offload_1_2", 9, True),
        (),
    ]


async def test_the_kernel_says_who_asks(path: Path, control: FakeControl) -> None:
    await Client(path).status()
    caller = control.callers[0]
    assert (caller.uid, caller.gid, caller.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert caller.groups == frozenset(os.getgroups())


@pytest.mark.root
async def test_another_user_is_seen_as_himself_with_his_groups(path: Path, control: FakeControl) -> None:
    """Also one with more supplementary groups than a small buffer holds."""
    path.parent.chmod(0o755)
    for folder in path.parents:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o711)
    groups = ",".join(map(str, range(2000, 2100)))
    request = "GET /v1/status HTTP/1.0\r\nHost: x\r\n\r\n"
    argv = [sys.executable, "-c", ASK, str(path), "1234", "1235", groups, request]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False, timeout=20)
    assert " 200 " in done.stdout, done.stderr
    caller = control.callers[0]
    assert (caller.uid, caller.gid) == (1234, 1235)
    assert caller.groups >= frozenset(range(2000, 2100))


def test_admins_are_root_the_own_account_and_the_group() -> None:
    permissions = Permissions(own_uid=500, admin_gid=27)
    assert permissions.admin(Caller(1, 0, 0, frozenset()))
    assert permissions.admin(Caller(1, 500, 9, frozenset()))
    assert permissions.admin(Caller(1, 7, 9, frozenset({27})))
    assert permissions.admin(Caller(1, 7, 27, frozenset()))
    assert not permissions.admin(Caller(1, 7, 9, frozenset({9})))
    assert not Permissions(own_uid=500).admin(Caller(1, 7, 0, frozenset({0})))


def test_admins_see_everything_but_signal_only_what_the_kernel_lets_them() -> None:
    permissions = Permissions(own_uid=500, admin_gid=27)
    admin, owner = Caller(1, 7, 27, frozenset()), Caller(1, 8, 8, frozenset())
    assert permissions.sees(admin, 8)
    assert not permissions.signals(admin, 8)
    assert permissions.sees(owner, 8)
    assert permissions.signals(owner, 8)
    assert not permissions.sees(owner, 9)
    assert permissions.signals(Caller(1, 0, 0, frozenset()), 9)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["'pid' is missing"]),
        (b"{", ["no JSON document"]),
        (b"[1]", ["must be a JSON object"]),
        (b'{"pid": "4242x"}', ["'pid' must be a whole number, not a string"]),
        (b'{"pid": true}', ["'pid' must be a whole number, not true or false"]),
        (b'{"pid": 1.5}', ["'pid' must be a whole number"]),
        (b'{"pid": 0}', ["between 1 and"]),
        (b'{"pid": 99999999999999999999}', ["between 1 and"]),
        (b'{"pid": 1, "pid": 2}', ["'pid' given twice"]),
        (b'{"pid": NaN}', ["NaN is no JSON number"]),
        (b'{"pid": 1, "dryrun": true}', ["unknown field 'dryrun'", "dry_run"]),
        (b'{"pid": 1, "dry_run": 1}', ["'dry_run' must be true or false"]),
        (b'{"pid": 1, "strategy": "teleport"}', ["must be one of restart, checkpoint, live"]),
        (b'{"pid": 1, "target": ""}', ["printable"]),
        (b'{"pid": 1, "target": "a\\u0007"}', ["printable"]),
        (b'{"pid": 1, "env_vars": {"A=B": "c"}}', ["no name of a variable"]),
        (b'{"pid": 1, "env_vars": {"A": 1}}', ["no string"]),
        (b'{"pid": 1, "env_vars": {"A": "b\\u0000c"}}', ["NUL"]),
        (b'{"pid": 1, "env_vars": {"A": "\\ud800"}}', ["no environment can hold"]),
        (b'{"pid": "x", "target": 3, "wat": 1}', ["unknown field", "'pid'", "'target'"]),
        (b"[" * 100_000, ["no JSON document"]),
    ],
)
async def test_bad_bodies_name_every_fault_and_reach_nobody(
    path: Path, control: FakeControl, body: bytes, words: list[str]
) -> None:
    status, document = await raw(path, "POST", "/v1/moves", body)
    assert status == 400
    assert document["error"]["code"] == "usage"
    for word in words:
        assert word in document["error"]["message"]
    assert control.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"enabled": "yes"}',
        b'{"mode": "fast"}',
        b'{"thresholds": {}}',
        b'{"thresholds": {"disk": 0.5}}',
        b'{"thresholds": {"cpu": 80}}',
        b'{"thresholds": {"cpu": 0}}',
        b'{"thresholds": {"cpu": "80%"}}',
        b'{"thresholds": {"cpu": ' + b"9" * 400 + b"}}",
        b'{"enabled": false, "mode": "auto"}',
    ],
)
async def test_toggles_that_make_no_sense_are_refused(path: Path, control: FakeControl, body: bytes) -> None:
    status, document = await raw(path, "POST", "/v1/auto", body)
    assert (status, document["error"]["code"]) == (400, "usage")
    assert control.asked == []


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("/v1/scan?all=yes", "must be 0 or 1"),
        ("/v1/scan?al=1", "unknown parameter 'al'"),
        ("/v1/moves?limit=100000", "between 1 and 1000"),
        ("/v1/moves?limit=5&limit=6", "whole number"),
        ("/v1/events?after=-1", "whole number"),
        ("/v1/moves/x/logs?offset=%C2%B2", "whole number"),
        ("/v1/status?verbose=1", "unknown parameter"),
        ("/v1/why?pid=1", "unknown parameter 'pid'"),
        ("/v1/why/0", "between 1 and"),
        ("/v1/why/99999999999", "between 1 and"),
        ("/v1/why/%C2%B2", "whole number"),
    ],
)
async def test_bad_queries_are_refused(path: Path, control: FakeControl, target: str, word: str) -> None:
    status, document = await raw(path, "GET", target)
    assert status == 400
    assert word in document["error"]["message"]
    assert control.asked == []


async def test_a_body_that_is_too_large_is_not_read(path: Path, control: FakeControl) -> None:
    status, document = await raw(path, "POST", "/v1/moves", b'{"pid": 1, "target": "' + b"x" * 400_000 + b'"}')
    assert status == 413
    assert "larger than" in document["error"]["message"]
    assert control.asked == []


async def test_unknown_routes_and_methods_answer_in_the_same_form(path: Path) -> None:
    assert (await raw(path, "GET", "/v1/nothing"))[1]["error"]["code"] == "not_found"
    assert (await raw(path, "DELETE", "/v1/moves"))[0] == 405


async def test_a_fault_of_ours_is_hidden_logged_and_survived(path: Path, control: FakeControl, caplog) -> None:
    control.failure = RuntimeError("secret detail")
    with pytest.raises(OffloaderError, match="its log says why") as caught:
        await Client(path).status()
    assert "secret" not in str(caught.value)
    assert "secret detail" in caplog.text
    control.failure = None
    assert await Client(path).status() == {"ok": True}


async def test_a_refusal_carries_reason_and_obstacles(path: Path, control: FakeControl) -> None:
    control.failure = Refused(Reason.TARGET_IS_HEAD, "work moves away from it")
    with pytest.raises(Refused) as caught:
        await Client(path).move(1)
    assert caught.value.reason is Reason.TARGET_IS_HEAD


async def test_an_action_is_done_wholly_though_its_client_hangs_up(path: Path, control: FakeControl) -> None:
    control.release.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await Client(path).move(1)
    assert control.done == []
    control.release.set()
    async with asyncio.timeout(5):
        while control.done != ["move"]:
            await asyncio.sleep(0.01)


async def test_a_second_controller_does_not_take_the_socket_away(path: Path) -> None:
    with pytest.raises(OffloaderError, match="another controller answers"):
        await Server().listen_unix(control_app(FakeControl()), path)
    assert await Client(path).status() == {"ok": True}


async def test_a_socket_left_by_a_crash_is_taken_over(tmp_path: Path) -> None:
    control = FakeControl()
    async with serving(tmp_path, control) as path:
        left = tmp_path / "left.sock"
        path.rename(left)
    server = Server()
    await server.listen_unix(control_app(control), left)
    assert await Client(left).status() == {"ok": True}
    await server.close()
    assert not left.exists()


async def test_something_else_in_the_socket_s_place_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "control.sock"
    file.write_text("precious")
    with pytest.raises(OffloaderError, match="is no socket"):
        await Server().listen_unix(control_app(FakeControl()), file)
    assert file.read_text() == "precious"
