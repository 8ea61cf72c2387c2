"""Clusters made of loopback addresses: real launchers and keepers, programs that only listen, nodes that are away."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from pathlib import Path

import pytest

from offloader.adapters.commands import LocalHost
from offloader.cluster.fleet import Fleet
from offloader.config.load import load_cluster
from offloader.errors import NodeUnreachable
from offloader.moves.agent import Agent
from offloader.moves.plan import MoveNode
from offloader.ports import VectorResult

PROGRAM = """#!/usr/bin/python3
import os, re, signal, socket, sys, time
listening = []
for word in sys.argv[1:]:
    found = re.search(r"--(?:web.listen-address|fake-listen)=([0-9.]+):([0-9]+)", word)
    if found:
        one = socket.create_server((found[1], int(found[2])))
        listening.append(one)
time.sleep(1000)
"""
RAY = """#!/usr/bin/python3
import re, socket, sys, time
words = " ".join(sys.argv)
address = re.search(r"--node-ip-address=(\\S+)", words)[1]
ports = re.findall(r"--(?:port|node-manager-port|dashboard-port)=([0-9]+)", words)
listening = [socket.create_server((address, int(port))) for port in ports]
time.sleep(1000)
"""
CONTROLLER = """#!/usr/bin/python3
import re, socket, sys, time
text = open(sys.argv[sys.argv.index("--config") + 1]).read()
host, port = re.search(r'"listen": "([0-9.]+):([0-9]+)"', text).groups()
one = socket.create_server((host, int(port)))
time.sleep(1000)
"""


class Away:
    """A node that does not answer."""

    def __init__(self, name):
        self.name = name

    async def run(self, *_, **__):
        raise NodeUnreachable(f"{self.name}: nothing listens there")

    open = run


class Metrics:
    """A Prometheus that answers what the test says."""

    def __init__(self, **answers):
        self.answers = answers

    async def query(self, *exprs):
        return tuple(self.answers.get(expr, VectorResult(error="no Prometheus")) for expr in exprs)

    async def close(self):
        return


def free_ports(count):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class World:
    """head, w1, w2 at 127.0.0.1 to 3; `env` holds what stands for both environments."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports = dict(
            zip(("exporter", "gcs", "node", "dashboard", "controller", "prometheus"), free_ports(6), strict=True)
        )
        self.env = root / "env"
        self._make_env()
        self.told = []
        self.names = ("head", "w1", "w2")
        self.file = root / "cluster.yaml"
        self.write()

    def write(self, **changes):
        ports = self.ports
        document = {
            "cluster": "lab",
            "nodes": [
                {
                    "name": name,
                    "role": "head" if name == "head" else "worker",
                    "address": f"127.0.0.{number}",
                    "state_dir": str(self.root / "nodes" / name),
                }
                for number, name in enumerate(self.names, start=1)
            ],
            "prometheus": {"exporter_port": ports["exporter"], "url": f"http://127.0.0.1:{ports['prometheus']}"},
            "ray": {
                "port": ports["gcs"],
                "node_port": ports["node"],
                "address": f"http://127.0.0.1:{ports['dashboard']}",
            },
            "controller": {
                "listen": f"127.0.0.1:{ports['controller']}",
                "state_dir": str(self.root / "state"),
                "runtime_dir": str(self.root / "run"),
            },
            "manage": {
                "app": str(self.env),
                "ray": str(self.env),
                "supervision": "own",
                "prometheus": True,
                "prometheus_program": str(self.env / "bin/prometheus"),
                "alertmanager": False,
            },
        }
        self.file.write_text(json.dumps({**document, **changes}))

    def fleet(self, away=()):
        cluster = load_cluster(self.file)
        agents = {
            node.name: Agent(
                Away(node.name) if node.name in away else LocalHost(node.name),
                MoveNode(node.name, node.address, "/usr/bin/python3", node.state_dir, ""),
                verb_s=20.0,
            )
            for node in cluster.nodes
        }
        return Fleet(cluster, self.file, agents, self.told.append)

    def pids(self):
        """Of everything that keepers of this world keep, and of the keepers."""
        found = {}
        for file in self.root.glob("nodes/*/services/*/keeper.json"):
            record = json.loads(file.read_text())
            for key in ("keeper", "child"):
                if record[key] and Path(f"/proc/{record[key]['pid']}").exists():
                    found[f"{file.parts[-4]}/{file.parts[-2]}/{key}"] = record[key]["pid"]
        return found

    def end(self):
        for directory in self.root.glob("nodes/*/services/*"):
            (launcher,) = list(self.root.glob(f"nodes/{directory.parts[-3]}/bin/launcher-*.pyz"))
            subprocess.run(["/usr/bin/python3", "-I", launcher, "untend", directory], check=True, capture_output=True)

    def _make_env(self):
        (self.env / "bin").mkdir(parents=True)
        (self.env / "bin/python").symlink_to("/usr/bin/python3")
        for name, text in {
            "grid-exporter": PROGRAM,
            "prometheus": PROGRAM,
            "ray": RAY,
            "grid-offloader": CONTROLLER,
        }.items():
            (self.env / "bin" / name).write_text(text)
            (self.env / "bin" / name).chmod(0o755)
        for name, version in {"ray": "2.60.0", "grid_offloader": "0.9"}.items():
            info = self.root / "site" / f"{name}-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
            )


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    yield made
    made.end()
    assert made.pids() == {}


def make_installed(world, *names):
    """As `cluster install` leaves a node, without waiting for pip."""
    for name in names or world.names:
        directory = world.root / "nodes" / name
        directory.mkdir(parents=True, exist_ok=True)
        entry = {"directory": str(world.env), "lock": "given", "versions": {"ray": "2.60.0", "grid-offloader": "0.9"}}
        (directory / "installed.json").write_text(json.dumps({"app": entry, "ray": entry}))
