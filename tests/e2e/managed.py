"""The test bed's nodes under `grid-offloader up`, as one ordinary account, from nothing but an SSH server."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

from _testbed import nodes
from _testbed.settings import PROJECT, USERS, load

__all__ = ["HEAD", "USER", "Managed", "pids", "states"]

COMMAND = f"{PROJECT}/.venv/bin/grid-offloader"
DEBIAN = PROJECT / ".cache/debian/usr/bin"
UP_S = 400
HEALTHY_S = 60
USER = "alice"
HEAD = "gpu-master"
PROMETHEUS, ALERTMANAGER = "http://127.0.0.1:9090", "http://127.0.0.1:9093"


class Managed:
    """Writes the cluster file, runs commands on the head, looks at what is left."""

    def __init__(self, bed, user=USER, **more):
        """`user`: as whom commands run and nodes are reached; `more`: further sections of the cluster file."""
        self.bed = bed
        self.user = user
        self.more = more
        self.settings = load()
        self.file = self.settings.root / "up.yaml"
        self.private = self.settings.private / user
        self.environments = self.settings.shared / "env"
        for node in self.settings.nodes:
            directory = self.settings.node_dir(node) / "private" / user
            directory.mkdir(exist_ok=True)
            os.chown(directory, USERS.get(user, 0), USERS.get(user, 0))
        self.write()

    own_environment = f"{PROJECT}/.venv"

    def write(self, **manage):
        """The cluster file; by default nothing is installed, the nodes use what is here."""
        given = manage or {"app": self.own_environment, "ray": self.own_environment}
        document = {
            "cluster": "testbed",
            "nodes": [
                {
                    "name": node.name,
                    "role": node.role,
                    "address": node.ip,
                    "ssh": {"user": self.user},
                    "state_dir": f"{self.private}/node",
                    "exporter_options": ["--scope=cgroup"],
                    "ray_options": ["--num-cpus=2", "--memory=2000000000", "--object-store-memory=80000000"],
                }
                for node in self.settings.nodes
            ],
            "prometheus": {"scrape_interval": "2s"},
            "controller": {"state_dir": f"{self.private}/state", "runtime_dir": f"{self.private}/run"},
            "auto_offload": {"check_interval": "2s"},
            "owners": {"notice": "0s"},
            "sharing": {"thresholds": {"cpu": {"max_used": 0.5, "min_free": 0.2}}},
            **self.more,
            "manage": {
                **given,
                "prometheus_program": f"{DEBIAN}/prometheus",
                "alertmanager_program": f"{DEBIAN}/prometheus-alertmanager",
            },
        }
        self.file.write_text(json.dumps(document, indent=2))

    def write_installing(self):
        """From now on environments are made, from the wheels that deploy/setup fetched."""
        self.write(wheels=f"{PROJECT}/.cache/wheels", environments=str(self.environments))

    def cli(self, *arguments, code=0):
        """Run a command on the head; anything but that exit code fails the test."""
        done = self.run(*arguments)
        assert done.returncode == code, f"{shlex.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def type(self, line):
        """A line of README, with this cluster's file."""
        program, *words = shlex.split(line)
        assert program == Path(COMMAND).name
        return self.cli(*(str(self.file) if word == "cluster.yaml" else word for word in words))

    def run(self, *arguments, user=None):
        """Run a command on the head."""
        variables = [f"GRID_OFFLOADER_CONFIG={self.file}", f"GRID_OFFLOADER_SOCKET={self.private}/run/control.sock"]
        line = nodes.argv(
            self.settings, self.settings.head, ["env", *variables, COMMAND, *arguments], user or self.user
        )
        return subprocess.run(
            line,
            capture_output=True,
            text=True,
            timeout=UP_S,
            check=False,
            stdin=subprocess.DEVNULL,
            preexec_fn=nodes.group(self.settings, self.settings.head).join,
        )

    def json(self, *arguments, code=0):
        """The document that a command prints."""
        return json.loads(self.cli(*arguments, "--format", "json", code=code).stdout)

    def moved(self, name, target="gpu1"):
        """A job that was moved from the head to that worker, by name: its move."""
        load = self.bed.start_load(HEAD, name, cpu=0.2, duration=900, environment={"GRID_OFFLOAD": "allow"})
        self.bed.wait_for(lambda: all(one["offer"] for one in self.json("status")["workers"]), 60, "offers")
        move = self.json("move", str(load.pid), "--target-node", target)
        move = move[0] if isinstance(move, list) else move
        assert move["state"] == "done", move
        return move

    def end_job(self, name, move):
        """End a moved job."""
        self.cli("cancel", move["id"])
        self.bed.wait_for(lambda: not self.bed.running(name), 30, f"{name}'s end")

    def status(self):
        """`cluster status`, whatever it says."""
        line = ["cluster", "status", "--format", "json"]
        done = self.run(*line)
        assert done.returncode in {0, 1}, done.stderr
        return json.loads(done.stdout)

    def healthy(self):
        """`cluster status` once all is well: what was restarted is scraped again within seconds."""
        deadline = time.monotonic() + HEALTHY_S
        while not (found := self.status())["ok"]:
            assert time.monotonic() < deadline, states(found)
        return found

    def kill(self, node, *names):
        """Kill processes of Ray on a node, as they are called."""
        for pid in nodes.group(self.settings, self.settings.node(node)).pids():
            words = nodes.command_line(pid).split()
            if words and Path(words[0]).name in names:
                os.kill(pid, signal.SIGKILL)

    def app_of(self, node, name):
        """That module of ours in the environment which the node uses, if it is there."""
        file = self.settings.node_dir(self.settings.node(node)) / "private" / self.user / "node/installed.json"
        directory = Path(json.loads(file.read_text())["app"]["directory"])
        return list(directory.glob(f"lib/python3*/site-packages/offloader/{name}"))

    def empty(self):
        """End what tests before this one left on the nodes."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.bed.wait_for(lambda: not self.ours(), 20, "empty nodes")
        self._remove_files()

    def ours(self):
        """Everything on the nodes besides process 1 and sshd."""
        return list(self._pids().values())

    def _pids(self):
        """As seen from outside of the nodes: pid → command line."""
        found = {}
        for node in self.settings.nodes:
            members = nodes.group(self.settings, node).pids()
            found |= {pid: line for pid in members if (line := nodes.command_line(pid).strip()) and not _bare(line)}
        return found

    def left(self):
        """Files of ours on the nodes."""
        found = []
        for node in self.settings.nodes:
            own = self.settings.node_dir(node)
            found += [str(path) for path in (own / "private" / self.user).rglob("*")]
            found += [str(path) for place in ("tmp", "run") for path in (own / place).glob("*ray*")]
        return found + [str(path) for path in self.environments.rglob("*")]

    def ask(self, url, token=None):
        """HTTP status of a question asked on the head."""
        header = ["-H", f"Authorization: Bearer {token}"] if token else []
        line = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", *header, url]
        return int(self.bed.exec(HEAD, line, user=USER).stdout)

    def curl(self, url, *options):
        """The document that a service on the head answers."""
        return json.loads(self.bed.exec(HEAD, ["curl", "-s", "--max-time", "10", *options, url]).stdout)

    def targets(self):
        """Job → health, sorted, of all that Prometheus scrapes."""
        found = self.curl(f"{PROMETHEUS}/api/v1/targets?state=active")["data"]["activeTargets"]
        assert {one["labels"]["cluster"] for one in found} == {"testbed"}
        return sorted((one["labels"]["job"], one["health"]) for one in found)

    def value(self, expr):
        """Sum of what Prometheus answers; None: nothing."""
        options = ["--data-urlencode", f"query={expr}"]
        found = self.curl(f"{PROMETHEUS}/api/v1/query", *options)["data"]["result"]
        return sum(float(one["value"][1]) for one in found) if found else None

    def alerts(self):
        """Names of those that have arrived at Alertmanager."""
        return {one["labels"]["alertname"] for one in self.curl(f"{ALERTMANAGER}/api/v2/alerts")}

    def alert(self, **labels):
        """Tell Alertmanager of one, as Prometheus would."""
        options = ["-H", "Content-Type: application/json", "--data", json.dumps([{"labels": labels}])]
        self.bed.exec(HEAD, ["curl", "-sf", *options, f"{ALERTMANAGER}/api/v2/alerts"])

    def install_templates(self):
        """Where Debian's Alertmanager looks for them, whatever it is told: in the head's own /usr/share."""
        layers = f"lowerdir={PROJECT}/.cache/debian/usr/share:/usr/share"
        self.bed.exec(HEAD, ["mount", "-t", "overlay", "overlay", "-o", layers, "/usr/share"])

    def limit(self, cpu):
        """Cores of each node; None: as many as there are, since installing and starting Ray takes minutes of one."""
        for node in self.settings.nodes:
            nodes.group(self.settings, node).limit(cpu, self.settings.memory)

    def end(self):
        """Nothing runs, and nothing but environments is left: those that are there are found again."""
        self.bed.make_whole()
        self.cli("cluster", "stop", "--force")
        self._remove_files()
        self.bed.exec(HEAD, ["umount", "--lazy", "/usr/share"])

    def _remove_files(self):
        for node in self.settings.nodes:
            self.bed.exec(node.name, ["sh", "-c", f"rm -rf {self.private}/* /tmp/grid-ray-* /run/grid-ray-*"])


def states(document):
    """(node, service) → running, or what is wrong."""
    return {
        (row["node"], one["name"]): one["state"] if one["ok"] else f"{one['state']}: {one['detail']}"
        for row in document["nodes"]
        for one in row["services"]
    }


def pids(document):
    """(node, service) → process id."""
    return {(row["node"], one["name"]): one["pid"] for row in document["nodes"] for one in row["services"]}


def _bare(line):
    return "node_init.py" in line or "sshd" in line
