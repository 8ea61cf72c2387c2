"""A Prometheus that answers what a test says, a cluster file that asks it, and the controller as a real process."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from offloader.adapters.journal.statedir import check_state_dir
from offloader.client import Client
from offloader.errors import ControllerUnavailable, JournalError

from .controller_world import World

PROJECT = Path(__file__).resolve().parents[2]
CLI = (sys.executable, "-m", "offloader.cli")
BURN = "while True: pass"
BASES = (PROJECT / ".cache", Path.home(), Path("/var/lib"))
"""Where state directories of tests may lie, best first."""

RULES = """\
groups:
  - name: test
    interval: 200ms
    rules:
      - offload: cpu
        resource: cpu
        expr: grid:node_pressure:ratio{role="head",resource="cpu"}
        for: 0s
        cooldown: 1s
      - offload: memory
        resource: memory
        expr: grid:node_pressure:ratio{role="head",resource="memory"}
        for: 0s
        cooldown: 1s
      - offload: gpu
        resource: gpu
        expr: grid:node_pressure:ratio{role="head",resource="gpu"}
        for: 0s
        cooldown: 1s
"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A controller that is killed leaves connections behind: no news."""


class FakePrometheus:
    """`/api/v1/query` over numbers that a test may change at any time."""

    def __init__(self) -> None:
        self.pressure: dict[str, dict[str, float]] = {
            "head1": {"cpu": 0.2, "memory": 0.3, "gpu": 0.0},
            "gpu1": {"cpu": 0.1, "memory": 0.2},
        }
        self.age_s = 0.5
        self.up: dict[str, float] = {"head1": 1, "gpu1": 1}
        self.broken: str | None = None
        self.asked = 0
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def vector(self, query: str) -> list[dict[str, Any]]:
        if query == "grid:up":
            return [self._sample(node, value) for node, value in self.up.items()]
        if query.startswith("grid:sample_age_seconds"):
            return [self._sample(node, self.age_s) for node in self.up]
        if query.startswith("time() - timestamp"):
            return [self._sample(node, 0.1) for node in self.up]
        if query.startswith("{__name__"):
            head = {"grid:node_cores": 8, "grid:node_memory_bytes": 32e9}
            worker = {**head, "grid:offer_cores": 6, "grid:offer_memory_bytes": 24e9}
            both = (("head1", head), ("gpu1", worker))
            return [self._sample(node, value, __name__=name) for node, names in both for name, value in names.items()]
        if query.startswith("grid:node_pressure_stall"):
            return []
        wanted = [part for part in ("cpu", "memory", "gpu") if f'resource="{part}"' in query]
        return [
            self._sample(node, value, resource=resource)
            for node, resources in self.pressure.items()
            for resource, value in resources.items()
            if (not wanted or resource in wanted) and not ('role="head"' in query and node != "head1")
        ]

    def _sample(self, node: str, value: float, **labels: str) -> dict[str, Any]:
        role = "head" if node == "head1" else "worker"
        return {"metric": {"node": node, "role": role, **labels}, "value": [time.time(), str(value)]}

    def _handler(fake) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler below
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake.asked += 1
                query = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
                if fake.broken is not None:
                    return self._send(500, fake.broken.encode())
                result = {"resultType": "vector", "result": fake.vector(query)}
                return self._send(200, json.dumps({"status": "success", "data": result}).encode())

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                self.path = "/?" + self.rfile.read(length).decode()
                self.do_GET()

            def _send(self, code: int, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    fake = FakePrometheus()
    yield fake
    fake.close()


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """On a real disk: the controller refuses /tmp, which may well hold the project."""
    folder = Path(tempfile.mkdtemp(prefix=".grid-offloader-test-", dir=next(base for base in BASES if lasting(base))))
    yield folder
    shutil.rmtree(folder)


def lasting(base: Path) -> bool:
    """Whether a state directory may lie there."""
    try:
        check_state_dir(base)
    except JournalError:
        return False
    return os.access(base, os.W_OK)


@pytest.fixture
def cluster_file(tmp_path: Path, state_dir: Path, prometheus: FakePrometheus) -> Path:
    """Head head1 (this machine), worker gpu1 (nowhere), three rules that fire at once."""
    (tmp_path / "rules.yml").write_text(RULES)
    text = f"""\
cluster: test
nodes:
  - {{name: head1, role: head, address: 127.0.0.1}}
  - {{name: gpu1, role: worker, address: 127.0.0.2}}
prometheus: {{url: "{prometheus.url}", scrape_interval: 1s, timeout: 2s}}
controller:
  state_dir: {state_dir}
  runtime_dir: {tmp_path / "run"}
  listen: 127.0.0.1:{free_port()}
auto_offload:
  rule_files: [rules.yml]
  check_interval: 200ms
  initial_cooldown: 0s
"""
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    return file


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """`grid-offloader serve` as its own process, and commands against it."""

    def __init__(self, cluster_file: Path, log: Path) -> None:
        self.socket = cluster_file.parent / "run" / "control.sock"
        self.log = log
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GRID_")},
            "GRID_OFFLOADER_CONFIG": str(cluster_file),
            "GRID_OFFLOADER_SOCKET": str(self.socket),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """With `--record-only` unless other options are given."""
        with self.log.open("ab") as log:
            command = [*CLI, "serve", *(options or ("--record-only",))]
            self.process = subprocess.Popen(command, env=self.environment, stderr=log, stdin=subprocess.DEVNULL)
        self.until(self.answers)

    def answers(self) -> bool:
        """Whether it answers and has ticked."""
        try:
            return bool(self.status()["data"]["ticks"])
        except ControllerUnavailable:
            return False

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLI, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=60, **more
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def status(self) -> Any:
        """The status document, without starting a command for it."""
        return asyncio.run(Client(self.socket).status())

    def why(self, subject: int | str | None = None) -> Any:
        """What `why` gets, without starting a command for it."""
        return asyncio.run(Client(self.socket).why(subject))

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process = None
        return code

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            ended = self.process is not None and self.process.poll() is not None
            assert not ended, f"the controller ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"not in time; the controller's log:\n{self.log.read_text()}"
            time.sleep(0.05)


@pytest.fixture
def daemon(cluster_file: Path, tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon(cluster_file, tmp_path / "controller.log")
    yield one
    if one.process is not None:
        one.kill(signal.SIGTERM)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.journal.close()


@pytest.fixture
def load(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own session that burns a core and says that it may be restarted."""
    script = tmp_path / "burn_for_test.py"
    script.write_text(BURN)
    environment = {**os.environ, "GRID_OFFLOAD": "allow"}
    with subprocess.Popen(["/usr/bin/python3", str(script)], env=environment, start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture
def eager_file(cluster_file: Path) -> Path:
    """One rule that may choose the load and nothing else, whoever runs the tests."""
    (cluster_file.parent / "rules.yml").write_text(
        """\
groups:
  - name: test
    interval: 200ms
    rules:
      - offload: cpu
        resource: cpu
        expr: grid:node_pressure:ratio{role="head",resource="cpu"}
        for: 0s
        cooldown: 1s
        select: {min_age: 0s, include: [burn_for_test.py]}
"""
    )
    cluster_file.write_text(cluster_file.read_text() + "protect: {min_uid: 0}\nowners: {notice: 0s}\n")
    return cluster_file


@pytest.fixture
def acting_file(eager_file: Path) -> Path:
    """A controller that may act; its one worker does not listen on SSH."""
    token = eager_file.parent / "ray.token"
    token.write_text("not-a-real-token")
    token.chmod(0o600)
    eager_file.write_text(f"{eager_file.read_text()}ray: {{token_file: {token}}}\n")
    return eager_file
