"""The controller on the test bed's head: its configuration, its start and its ends.

A single-account cluster: controller, SSH and work are the account's that Ray was started by.
"""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _testbed import monitoring, nodes, ray_cluster, services
from _testbed.errors import TestbedError
from _testbed.settings import PROJECT, USERS, Node, Settings
from _testbed.shell import wait_until

__all__ = [
    "account",
    "become_cli",
    "configure",
    "inside",
    "kill",
    "outside",
    "reload",
    "run_cli",
    "running",
    "socket",
    "start",
    "stop",
    "webhook_token",
]

NAME = "controller"
COMMAND = f"{PROJECT}/.venv/bin/grid-offloader"
START_S = 40

RULES = """\
# As the shipped cpu rule, with shorter times so that nobody has to wait.
groups:
  - name: trial
    interval: 2s
    rules:
      - offload: HeadCPU
        expr: grid:node_pressure:ratio{role="head",resource="cpu"}
        resource: cpu
        for: 10s
        cooldown: 30s
        mode: {mode}
        select: {min_age: 5s{select}}
        move: {strategies: [{strategy}], backend: ray}
        annotations:
          summary: The head's CPU is in use
"""


def account(settings: Settings) -> str:
    """As whom controller, Ray and work run."""
    access = ray_cluster.access(settings)
    return access.user if access is not None else ray_cluster.DEFAULT_USER


def inside(settings: Settings) -> Path:
    """The account's own directory on a node's disk, as that node sees it."""
    return settings.private / account(settings)


def outside(settings: Settings, node: Node) -> Path:
    """The same, as the machine sees it."""
    return settings.node_dir(node) / "private" / account(settings)


def configure(
    settings: Settings,
    *,
    mode: str = "auto",
    strategy: str = "restart",
    select: str = "",
    criu: str | None = None,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write the cluster file and a rule file; returns the former.

    Args:
        settings: of the test bed.
        mode: of the one rule.
        strategy: of the rule.
        select: what else it says of what it takes, as YAML.
        criu: that of every node; None: the one that deploy/setup brought.
        changes: sections that replace those of the cluster file.

    Raises:
        TestbedError: Ray was never started, so nobody knows its token.
    """
    access = ray_cluster.access(settings)
    if access is None:
        raise TestbedError("the controller needs Ray: deploy/testbed ray up")
    for node in settings.nodes:
        _own_state_dir(outside(settings, node), access.user)
    directory = settings.root / NAME
    directory.mkdir(exist_ok=True)
    rules = directory / "rules.yml"
    values = {"{mode}": mode, "{strategy}": strategy, "{select}": f", {select}" if select else ""}
    text = RULES
    for name, value in values.items():
        text = text.replace(name, value)
    rules.write_text(text, encoding="utf-8")
    _write_token(webhook_token(settings), access.user)
    cluster = directory / "cluster.yaml"
    document = {**_document(settings, access, rules, criu), **(changes or {})}
    # JSON is YAML: no quoting to get wrong.
    cluster.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return cluster


def start(settings: Settings, program: Sequence[str] = (COMMAND,)) -> None:
    """Start `grid-offloader serve` on the head as configured, and wait until it answers.

    Args:
        settings: of the test bed.
        program: what stands for `grid-offloader`.

    Raises:
        TestbedError: it ended at once, or does not listen.
    """
    path = socket(settings)
    path.unlink(missing_ok=True)
    command = [*program, "serve", "--config", str(settings.root / NAME / "cluster.yaml")]
    services.start(settings, settings.head, NAME, command, user=account(settings))
    wait_until(lambda: path.exists() or not running(settings), START_S, "the controller to listen")
    if not running(settings):
        text = services.log(settings, settings.head, NAME).read_text(encoding="utf-8", errors="replace")
        raise TestbedError(f"the controller ended at once: {text[-1500:].strip()}")


def running(settings: Settings) -> bool:
    """Whether it lives."""
    return services.group_of(settings, settings.head, NAME) is not None


def stop(settings: Settings) -> None:
    """TERM, and wait for its end."""
    services.stop(settings, settings.head, NAME)


def kill(settings: Settings) -> None:
    """Kill -9."""
    services.stop(settings, settings.head, NAME, signal.SIGKILL)


def reload(settings: Settings) -> None:
    """SIGHUP. Raises TestbedError when it does not run."""
    group = services.group_of(settings, settings.head, NAME)
    if group is None:
        raise TestbedError("the controller does not run: deploy/testbed controller up")
    os.killpg(group, signal.SIGHUP)


def socket(settings: Settings) -> Path:
    """The controller's socket as this machine sees it; the head sees it in its private directory."""
    return outside(settings, settings.head) / "run" / "control.sock"


def run_cli(
    settings: Settings, arguments: list[str], *, user: str = "", timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run the command line on the head, as a person logged in there would: `user`, or the cluster's account."""
    line = nodes.argv(settings, settings.head, _cli(settings, arguments), user or account(settings))
    return subprocess.run(
        line,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        preexec_fn=nodes.group(settings, settings.head).join,
    )


def become_cli(settings: Settings, arguments: list[str]) -> None:
    """Become the command line on the head. Does not return."""
    nodes.enter(settings, settings.head, _cli(settings, arguments), account(settings))


def _cli(settings: Settings, arguments: list[str]) -> list[str]:
    private = inside(settings)
    variables = [
        f"GRID_OFFLOADER_CONFIG={settings.root}/{NAME}/cluster.yaml",
        f"GRID_OFFLOADER_SOCKET={private}/run/control.sock",
    ]
    return ["env", *variables, COMMAND, *arguments]


def webhook_token(settings: Settings) -> Path:
    """The file with the token of the controller's webhook."""
    return settings.root / NAME / "webhook.token"


def _write_token(file: Path, user: str) -> None:
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16) + "\n", encoding="ascii")
    os.chown(file, USERS.get(user, 0), USERS.get(user, 0))


def _own_state_dir(directory: Path, user: str) -> None:
    """A directory of the account's own on a node's private disk; others may pass through to the socket."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o711)
    os.chown(directory, USERS.get(user, 0), USERS.get(user, 0))


def _document(settings: Settings, access: ray_cluster.Access, rules: Path, criu: str | None) -> dict[str, Any]:
    ours = PROJECT / ".cache/criu/criu"  # every node sees the project
    found = criu or (str(ours) if ours.exists() else "")
    private = inside(settings)
    return {
        "cluster": monitoring.CLUSTER,
        "nodes": [
            {
                "name": node.name,
                "role": node.role,
                "address": node.ip,
                "ssh": {"user": access.user},
                **({"criu": found} if found else {}),
                "state_dir": f"{private}/node",
            }
            for node in settings.nodes
        ],
        "prometheus": {"url": monitoring.url(settings), "scrape_interval": f"{monitoring.INTERVAL_S}s"},
        "ray": {"address": access.dashboard, "token_file": access.token_file},
        "controller": {
            "state_dir": f"{private}/state",
            "runtime_dir": f"{private}/run",
            "listen": f"{settings.head.ip}:{monitoring.CONTROLLER_PORT}",
            "webhook_token_file": str(webhook_token(settings)),
        },
        "auto_offload": {"check_interval": "2s", "cooldown": "30s", "rule_files": [str(rules)]},
        **({"protect": {"min_uid": 0}} if access.user == "root" else {}),
        # Nobody waits for an owner's objection; the tests of owners set their own.
        "owners": {"notice": "0s"},
        # The hosts have less than one core each: lend fractions of it.
        "sharing": {"thresholds": {"cpu": {"max_used": 0.5, "min_free": 0.2}}},
    }
