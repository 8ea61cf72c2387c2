"""A controller that answers what a test says, on a real socket, and a way to run commands against it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from offloader.cli.main import run_command
from offloader.daemon.api.routes import control_app
from offloader.daemon.api.server import Server

MOVE = {
    "id": "offload_1700000000_4242",
    "job": "01J0000000000000000000000",
    "pid": 4242,
    "name": "train.py",
    "user": "alice",
    "uid": 1000,
    "source": "head1",
    "target": "gpu1",
    "strategy": "restart",
    "backend": "ray",
    "submission_id": "01J-1",
    "state": "planned",
    "final": False,
    "automatic": False,
    "rule": None,
    "requested_by": 1000,
    "created_t": 1700000000.0,
    "updated_t": 1700000001.0,
    "downtime_s": None,
    "reason": None,
    "detail": "",
    "job_state": "running",
    "exit_code": None,
    "signal": None,
}


def move_document(*states: str, **more: Any) -> dict[str, Any]:
    """A move that went through these states, a second each."""
    steps = [
        {"t": 1700000000.0 + number, "event": state, "reason": None, "detail": ""}
        for number, state in enumerate(states)
    ]
    return {**MOVE, "state": states[-1], "timeline": steps, **more}


class FakeController:
    """`answers` maps a method's name to a document, a function of its arguments, or an exception to raise."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def method(*arguments: Any, **named: Any) -> Any:
            given = (*arguments[1:], *named.values())
            self.asked.append((name, given))
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer(*given) if callable(answer) else answer

        return method


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[FakeController]:
    fake, loop, server = FakeController(), asyncio.new_event_loop(), Server()
    loop.run_until_complete(server.listen_unix(control_app(fake), tmp_path / "control.sock"))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield fake
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(server.close())
    loop.close()


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `grid-offloader ARGUMENTS`; nothing of this machine's own set-up is seen."""
    for name in ("CONFIG", "STATE_DIR"):
        monkeypatch.setenv(f"GRID_OFFLOADER_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("GRID_OFFLOADER_SOCKET", str(tmp_path / "control.sock"))

    def run(*arguments: str) -> Ran:
        code = run_command(arguments)
        return Ran(code, *capsys.readouterr())

    return run
