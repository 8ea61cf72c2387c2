"""A real Ray of one node, with token authentication, for as long as a test module runs: fixture `ray_head`."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

ADDRESS = "127.0.0.2"  # Ray replaces 127.0.0.1 by an address of the machine

_UP_S = 90.0
_DOWN_S = 20.0

_LEAN = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_open_telemetry": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
    "RAY_enable_timeline": "0",
    "RAY_BACKEND_LOG_LEVEL": "warning",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@dataclass(frozen=True, slots=True)
class RayHead:
    url: str
    token_file: Path


@pytest.fixture(scope="module")
def ray_head() -> Iterator[RayHead]:
    with _running_head() as head:
        yield head


@contextmanager
def _running_head() -> Iterator[RayHead]:
    """Up when its job server answers; afterwards none of its processes is left."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray puts Unix sockets below it
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    port, dashboard, client = _free_port(), _free_port(), _free_port()
    mark = f"CONTRACT_TEST_RAY={folder.name}"
    environment = os.environ | _LEAN | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    environment.update([mark.split("=")])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=4",
                f"--node-ip-address={ADDRESS}", f"--port={port}", f"--temp-dir={folder}",
                "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--include-dashboard=true",
                "--no-monitor", f"--ray-client-server-port={client}",
                "--include-log-monitor=false",
                "--object-store-memory=80000000", "--disable-usage-stats",
            ],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        head = RayHead(f"http://127.0.0.1:{dashboard}", token)
        _await_jobs_api(head, process, folder / "log")
        yield head
    finally:
        _end(process, mark)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _await_jobs_api(head: RayHead, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _UP_S
    headers = {"Authorization": f"Bearer {head.token_file.read_text()}"}
    while True:
        try:
            if requests.get(f"{head.url}/api/jobs/", headers=headers, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _end(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """Every process that bears our mark in its environment, whoever its parent is now."""
    process.terminate()
    deadline = time.monotonic() + _DOWN_S
    while (left := _marked(mark)) and time.monotonic() < deadline:
        for one in left:
            if one.pid != process.pid:
                one.kill()
        psutil.wait_procs(left, timeout=0.2)
    process.wait(_DOWN_S)
    assert not _marked(mark)


def _marked(mark: str) -> list[psutil.Process]:
    name, value = mark.split("=")
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get(name) == value and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found
