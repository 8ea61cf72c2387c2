"""A lean Ray cluster on the test bed, with token authentication, run by an ordinary account.

Flags: `ray start --help` and ray_config_def.h of Ray 2.60; everything a small cluster does without is switched off.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _testbed import nodes
from _testbed.errors import NodeDownError, TestbedError
from _testbed.files import search_path
from _testbed.settings import PROJECT, USERS, Node, Settings
from _testbed.shell import kill, run, say, wait_until

GCS_PORT, DASHBOARD_PORT = 6379, 8265
START_S = 90
DEFAULT_USER = "alice"
LEAN = {
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
    "RAY_health_check_initial_delay_ms": "10000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "120",
}
OURS = re.compile(
    r"/ray/core/src/ray/|/site-packages/ray/|^ray::|^ray-dashboard|/bin/ray start|-m ray\.util\.client\.server"
)


@dataclass(frozen=True)
class Access:
    """How to reach the cluster."""

    user: str
    address: str
    dashboard: str
    token_file: str


def access(settings: Settings) -> Access | None:
    """How to reach the cluster that was started last; None before the first."""
    file = settings.root / "ray" / "access.json"
    return Access(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def processes(settings: Settings, node: Node, pattern: re.Pattern[str] = OURS) -> dict[int, str]:
    """The node's Ray processes: id as the machine numbers it → command line."""
    return {pid: line for pid in nodes.group(settings, node).pids() if pattern.search(line := nodes.command_line(pid))}


def has_raylet(settings: Settings, node: Node) -> bool:
    """Whether the node's raylet runs."""
    return bool(_named(settings, node, "raylet"))


def _named(settings: Settings, node: Node, program: str) -> list[int]:
    return [pid for pid, line in processes(settings, node).items() if line.split()[0].endswith(f"/{program}")]


def up(settings: Settings, user: str) -> Access:
    """Start what is not running, as `user`; without a head everything starts afresh. Returns how to reach it."""
    present = access(settings)
    if present and present.user != user and any(has_raylet(settings, node) for node in settings.nodes):
        raise TestbedError(f"Ray runs as {present.user}: deploy/testbed ray down first")
    for node in settings.nodes:
        if nodes.pid(settings, node) is None:
            raise NodeDownError(f"{node.name} is down: deploy/testbed start {node.name}")
    if not (_named(settings, settings.head, "gcs_server") and has_raylet(settings, settings.head)):
        down(settings)
    _check_readable(settings, user)
    reach = _prepare(settings, user)
    begin = time.monotonic()
    with _without_cpu_limit(settings):
        _start(settings, reach)
    say(f"Ray is up after {time.monotonic() - begin:.1f} s: {reach.dashboard}, token in {reach.token_file}")
    return reach


def _check_readable(settings: Settings, user: str) -> None:
    program = f"{PROJECT}/.venv/bin/ray"
    try:
        run(nodes.argv(settings, settings.head, ["test", "-r", program, "-a", "-x", program], user))
    except TestbedError as error:
        advice = f"run deploy/setup, make the project readable (chmod -R go+rX {PROJECT}), or use --user root"
        raise TestbedError(f"{user} cannot run {program}: {advice}") from error


def _prepare(settings: Settings, user: str) -> Access:
    directory = settings.root / "ray"
    directory.mkdir(exist_ok=True)
    token = directory / "token"
    if not token.exists():
        descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, secrets.token_urlsafe(32).encode())
        os.close(descriptor)
    os.chown(token, USERS.get(user, 0), USERS.get(user, 0))
    head = settings.head.ip
    reach = Access(user, f"{head}:{GCS_PORT}", f"http://{head}:{DASHBOARD_PORT}", str(token))
    (directory / "access.json").write_text(json.dumps(reach.__dict__), encoding="utf-8")
    return reach


@contextmanager
def _without_cpu_limit(settings: Settings) -> Iterator[None]:
    """Starting Ray takes ten seconds of CPU: let the nodes have it."""
    for node in settings.nodes:
        nodes.group(settings, node).limit(None, settings.memory)
    try:
        yield
    finally:
        for node in settings.nodes:
            nodes.group(settings, node).limit(settings.cpu, settings.memory)


def _start(settings: Settings, reach: Access) -> None:
    deadline = time.monotonic() + START_S
    starting: list[tuple[Node, subprocess.Popen[bytes]]] = []
    try:
        if not has_raylet(settings, settings.head):
            say("starting Ray on the head …")
            starting.append((settings.head, _launch(settings, settings.head, reach)))
            _await_gcs(settings, starting[0][1])
        workers = [node for node in settings.nodes[1:] if not has_raylet(settings, node)]
        if workers:
            say(f"starting Ray on {', '.join(node.name for node in workers)} …")
        starting += [(node, _launch(settings, node, reach)) for node in workers]
        for node, process in starting:
            _await_exit(settings, node, process, deadline)
    finally:
        for _, process in starting:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    wanted = {node.ip for node in settings.nodes}
    wait_until(lambda: alive(reach) >= wanted, max(1, deadline - time.monotonic()), "Ray to list every node as alive")


def _await_gcs(settings: Settings, head: subprocess.Popen[bytes]) -> None:
    """Workers can start as soon as the head's port is open: seconds before `ray start` returns."""
    address = (settings.head.ip, GCS_PORT)
    wait_until(lambda: nodes.listens(address) or bool(head.poll()), START_S, "Ray's port on the head")
    if head.poll():
        _await_exit(settings, settings.head, head, 0)


def _await_exit(settings: Settings, node: Node, process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        code: int | None = process.wait(max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = None
    if code:
        text = _log(settings, node).read_text(encoding="utf-8", errors="replace")
        raise TestbedError(f"ray start failed on {node.name} (exit {code}): {text[-1500:].strip()}")
    if code is None:
        raise TestbedError(f"ray start on {node.name} took longer than {START_S} s: see {_log(settings, node)}")


def _log(settings: Settings, node: Node) -> Path:
    return settings.node_dir(node) / "ray-start.log"


def _launch(settings: Settings, node: Node, reach: Access) -> subprocess.Popen[bytes]:
    head = node is settings.head
    dashboard = ("--include-dashboard=true", "--dashboard-host=0.0.0.0", f"--dashboard-port={DASHBOARD_PORT}")
    role = ("--head", f"--port={GCS_PORT}", *dashboard, "--no-monitor") if head else (f"--address={reach.address}",)
    command = [
        *(f"{PROJECT}/.venv/bin/ray", "start", *role, f"--node-ip-address={node.ip}", f"--labels=node={node.name}"),
        *("--num-cpus=2", f"--memory={settings.memory * 2 // 3}", "--object-store-memory=80000000"),
        *("--include-log-monitor=false", "--disable-usage-stats"),
    ]
    authentication = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": reach.token_file}
    variables = [f"{key}={value}" for key, value in (LEAN | authentication).items()]
    with _log(settings, node).open("wb") as log:
        return subprocess.Popen(
            nodes.argv(settings, node, ["env", f"PATH={search_path(settings)}", *variables, *command], reach.user),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            preexec_fn=nodes.group(settings, node).join,  # noqa: PLW1509 - single-threaded; makes it findable at once
        )


def alive(reach: Access) -> set[str]:
    """Addresses of the nodes that Ray itself lists as alive; empty while it does not answer."""
    token = Path(reach.token_file).read_text(encoding="ascii").strip()
    request = urllib.request.Request(  # noqa: S310 - our own http address
        f"{reach.dashboard}/api/v0/nodes", headers={"Authorization": f"Bearer {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            listed: Any = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return set()
    rows = listed.get("data", {}).get("result", {}).get("result", [])
    return {row["node_ip"] for row in rows if row["state"] == "ALIVE"}


def down(settings: Settings, only: Node | None = None) -> None:
    """Kill Ray everywhere, or on one node, and forget its session files."""
    for node in settings.nodes if only is None else [only]:
        wait_until(lambda node=node: _killed(settings, node), 15, f"Ray on {node.name} to end")  # type: ignore[misc]
        shutil.rmtree(settings.node_dir(node) / "tmp/ray", ignore_errors=True)


def _killed(settings: Settings, node: Node) -> bool:
    found = processes(settings, node)
    for pid in found:
        kill(pid, signal.SIGKILL)
    return not found


def kill_raylet(settings: Settings, node: Node) -> None:
    """SIGKILL the node's raylet: Ray fails there, the node lives. Raises TestbedError when there is none."""
    pids = _named(settings, node, "raylet")
    if not pids:
        raise TestbedError(f"no raylet runs on {node.name}")
    for pid in pids:
        kill(pid, signal.SIGKILL)
    wait_until(lambda: not has_raylet(settings, node), 10, f"the raylet of {node.name} to end")
