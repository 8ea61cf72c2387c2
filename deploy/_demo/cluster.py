"""The cluster of the demo: test bed, Ray, monitoring, and the controller with its configuration."""

import json
import os
import shlex
import subprocess
from pathlib import Path

from _testbed import bed, monitoring, nodes, ray_cluster, services
from _testbed.settings import PROJECT, USERS, Node, Settings
from _testbed.shell import wait_until

__all__ = ["ACCOUNT", "configure", "controller_socket", "start", "start_controller", "start_load"]

ACCOUNT = "alice"
"""Controller, Ray and work run as this one ordinary account: a single-account cluster, no root anywhere."""

CONTROLLER = "controller"
START_S = 30

RULES = """\
# The demo's one rule: as the shipped cpu rule, with shorter times so that nobody has to wait.
groups:
  - name: demo
    interval: 2s
    rules:
      - offload: HeadCPU
        expr: grid:node_pressure:ratio{role="head",resource="cpu"}
        resource: cpu
        for: 10s
        cooldown: 30s
        mode: {mode}
        select: {min_age: 5s}
        move: {strategies: [restart], backend: ray}
        annotations:
          summary: The head's CPU is in use
"""


def start(settings: Settings) -> ray_cluster.Access:
    """Bring up hosts, Ray and monitoring; returns how to reach Ray."""
    bed.up(settings)
    for node in settings.nodes:
        _own_state_dir(settings, node)
    access = ray_cluster.up(settings, ACCOUNT)
    monitoring.up(settings)
    return access


def configure(settings: Settings, access: ray_cluster.Access, *, rule: bool) -> Path:
    """Write the cluster file and the rule file; returns the former. Without `rule` its mode is observe."""
    directory = settings.root / "demo"
    directory.mkdir(exist_ok=True)
    rules = directory / "rules.yml"
    rules.write_text(RULES.replace("{mode}", "auto" if rule else "observe"), encoding="utf-8")
    cluster = directory / "cluster.yaml"
    # JSON is YAML: no quoting to get wrong.
    cluster.write_text(json.dumps(_document(settings, access, rules), indent=2) + "\n", encoding="utf-8")
    return cluster


def start_controller(settings: Settings, cluster: Path) -> None:
    """Start `grid-offloader serve` on the head and wait until it answers."""
    command = [f"{PROJECT}/.venv/bin/grid-offloader", "serve", "--config", str(cluster)]
    services.start(settings, settings.head, CONTROLLER, command, user=ACCOUNT)
    socket = controller_socket(settings)
    wait_until(
        lambda: socket.exists() or services.group_of(settings, settings.head, CONTROLLER) is None,
        START_S,
        "the controller to listen",
    )


def controller_socket(settings: Settings) -> Path:
    """The controller's socket as this machine sees it (the head sees it in its private directory)."""
    return settings.node_dir(settings.head) / "private" / ACCOUNT / "run" / "control.sock"


def start_load(settings: Settings, name: str, *, cores: float) -> int:
    """Start work on the head, as its user would with nohup, declared safe to run again from the start.

    Returns: its process id on the head.
    """
    ready = settings.shared / f"{name}.pid"
    ready.unlink(missing_ok=True)
    program = str(settings.root / "bin" / "load.py")
    command = ["/usr/bin/python3", program, f"--name={name}", f"--cpu={cores}", f"--ready-file={ready}"]
    output = shlex.quote(str(settings.shared / f"{name}.out"))
    shell = f"exec setsid --fork {shlex.join(command)} </dev/null >>{output} 2>&1"
    line = ["env", "GRID_OFFLOAD=allow", "bash", "-c", shell]
    subprocess.run(
        nodes.argv(settings, settings.head, line, ACCOUNT, cwd=str(settings.shared)),
        check=True,
        preexec_fn=nodes.group(settings, settings.head).join,
    )
    wait_until(ready.exists, START_S, f"{name} to run")
    return int(ready.read_text(encoding="ascii"))


def _own_state_dir(settings: Settings, node: Node) -> None:
    """A directory of the account's own on each node's private disk."""
    directory = settings.node_dir(node) / "private" / ACCOUNT
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chown(directory, USERS[ACCOUNT], USERS[ACCOUNT])


def _document(settings: Settings, access: ray_cluster.Access, rules: Path) -> dict[str, object]:
    private = settings.private / ACCOUNT
    return {
        "cluster": "demo",
        "nodes": [
            {
                "name": node.name,
                "role": node.role,
                "address": node.ip,
                "ssh": {"user": ACCOUNT},
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
        },
        "auto_offload": {"check_interval": "2s", "cooldown": "30s", "rule_files": [str(rules)]},
        # The hosts have less than one core each: lend fractions of it.
        "sharing": {"thresholds": {"cpu": {"max_used": 0.5, "min_free": 0.2}}},
    }
