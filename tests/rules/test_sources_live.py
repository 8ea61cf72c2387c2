"""A real node_exporter as the source of a node, in a real Prometheus, beside our own exporter on the same machine."""

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from offloader.adapters.gather import gather
from offloader.adapters.prometheus import PrometheusSource
from offloader.config.rules import RuleDefaults, check_rules
from offloader.config.shipped import offload_rules, prometheus_rules, shipped
from offloader.model import Reason, Resource, Role, Truth

DEBIAN = Path(__file__).resolve().parents[2] / ".cache/debian/usr/bin"
NODES = {"site": Role.HEAD, "own": Role.WORKER}
PATIENCE_S = 60
NOT_TOLD = {("grid:node_pressure_stall:ratio", "cpu", "full")}
"""node_exporter does not tell when all tasks wait for a core."""

CLUSTER = """\
cluster: lab
nodes:
  - {name: site, role: head, address: 192.0.2.1, aliases: [127.0.0.1]}
  - {name: own, role: worker, address: 192.0.2.2}
prometheus: {node_label: instance, scrape_interval: 1s}
"""

pytestmark = [pytest.mark.slow, pytest.mark.promtool]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Programs:
    """What a test has started. All of it is ended with the test."""

    def __init__(self, folder):
        self._folder = folder
        self._running = []

    def start(self, name, *line):
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([str(word) for word in line], stdout=log, stderr=log)
        self._running.append(process)
        return process

    def end(self, process):
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end_all(self):
        for process in reversed(self._running):
            self.end(process)


class Site:
    """The machine as two nodes: `site` with node_exporter, known by its address, `own` with grid-exporter."""

    def __init__(self, folder, programs):
        self._programs = programs
        self._port = free_port()
        own, prometheus = free_port(), free_port()
        (folder / "cluster.yaml").write_text(CLUSTER, encoding="utf-8")
        command = [sys.executable, "-m", "offloader.cli", "cluster", "rules", "-c", folder / "cluster.yaml"]
        subprocess.run([*command, "-o", folder / "nodes.yml"], check=True, capture_output=True)
        labels = {"node": "own", "role": "worker"}
        scrapes = [
            {"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{self._port}"]}]},
            {"job_name": "grid-exporter", "static_configs": [{"targets": [f"127.0.0.1:{own}"], "labels": labels}]},
        ]
        sources = shipped("rules", "prometheus", "sources").glob("*.yml")
        recorded = (*prometheus_rules(), *sources, folder / "nodes.yml")
        configuration = {  # JSON is YAML
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": [str(file) for file in recorded],
            "scrape_configs": scrapes,
        }
        (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
        self.start_exporter()
        programs.start("own", sys.executable, "-m", "exporter", f"--web.listen-address=127.0.0.1:{own}")
        options = (f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{prometheus}")
        programs.start("prometheus", DEBIAN / "prometheus", f"--config.file={folder}/prometheus.yml", *options)
        self._url = f"http://127.0.0.1:{prometheus}"
        self.prometheus = PrometheusSource(self._url)
        report = check_rules(offload_rules(), RuleDefaults(scrape_interval_s=1), recording_files=recorded)
        assert (report.problems, report.warnings) == ((), ())
        self.rules = report.rules

    def failing_rules(self):
        """Rules whose last evaluation Prometheus reports as failed, with its reason."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self._url}/api/v1/rules", timeout=5) as answer:
            groups = json.load(answer)["data"]["groups"]
        return {rule["name"]: rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")}

    def start_exporter(self):
        only = ("--collector.disable-defaults", *(f"--collector.{name}" for name in ("cpu", "meminfo", "time")))
        address = f"--web.listen-address=127.0.0.1:{self._port}"
        program = DEBIAN / "prometheus-node-exporter"
        self._exporter = self._programs.start("node_exporter", program, *only, "--collector.pressure", address)

    def end_exporter(self):
        self._programs.end(self._exporter)

    async def series(self, node):
        """What is recorded of a node now: (name, resource, kind) → sample."""
        (answer,) = await self.prometheus.query(f'{{__name__=~"grid:.+",node="{node}"}}')
        return {
            (one.labels["__name__"], one.labels.get("resource", ""), one.labels.get("kind", "")): one
            for one in answer.samples
            if not one.labels["__name__"].startswith(("grid:target_node", "grid:cluster_node", "grid:node_exporter"))
        }

    async def seen(self):
        """The nodes and the head's rules as the controller would see them."""
        now = time.time()
        return await gather(self.prometheus, self.rules, NODES, now=now, limit_s=5)


@pytest.fixture
async def site(tmp_path):
    for program in ("prometheus", "prometheus-node-exporter"):
        if not (DEBIAN / program).exists():
            pytest.skip(f"{program} is missing: run deploy/setup")
    programs = Programs(tmp_path)
    try:
        made = Site(tmp_path, programs)
        yield made
        await made.prometheus.close()
    finally:
        programs.end_all()


async def until(ask, good):
    """The first answer that is good; the last one, for the failure's text, when there is none in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not good(found := await ask()) and time.monotonic() < deadline:
        await asyncio.sleep(0.25)
    assert good(found), found
    return found


async def test_a_node_with_node_exporter_is_seen_as_one_with_ours_until_it_falls_silent_and_again_after(site):
    async def both():
        return await site.series("site"), await site.series("own")

    cpu, memory = ("grid:node_pressure:ratio", "cpu", ""), ("grid:node_pressure:ratio", "memory", "")

    def alike(found):
        """With the first scrapes not all series are there yet; offers, which only a worker makes, come and go."""
        theirs, ours = found
        known = {key for key in ours if not any("gpu" in part or "offer" in part for part in key)}
        return cpu in theirs and theirs.keys() == known - NOT_TOLD

    theirs, ours = await until(both, alike)
    assert ("grid:node_gpus", "", "") in ours  # nobody else looked for GPUs here
    assert {(one.labels["job"], one.labels["role"]) for one in theirs.values()} == {("node", "head")}

    for name in ("grid:node_cores", "grid:node_memory_bytes", "grid:up"):
        assert theirs[name, "", ""].value == ours[name, "", ""].value, name
    available = "grid:node_memory_available_bytes", "", ""
    assert theirs[available].value == pytest.approx(ours[available].value, rel=0.1)
    assert theirs[memory].value == pytest.approx(ours[memory].value, abs=0.05)
    assert theirs["grid:sample_age_seconds", "", ""].value < 5
    assert abs(theirs["grid:clock_skew_seconds", "", ""].value) < 2
    # Windows that began at different scrapes differ until they are long enough.
    await until(both, lambda found: abs(found[0][cpu].value - found[1][cpu].value) < 0.1)
    for key in (key for key in theirs if key[0] == "grid:node_pressure_stall:ratio"):
        await until(both, lambda found, key=key: abs(found[0][key].value - found[1][key].value) < 0.1)

    found = await site.seen()
    head = found.nodes["site"]
    assert (head.up, head.offer) == (True, None)
    assert (head.total.cores, head.total.gpus) == (found.nodes["own"].total.cores, 0)
    assert [head.pressure[one].problem for one in (Resource.CPU, Resource.MEMORY)] == [None, None]
    assert found.values["head/head-cpu", "site"].problem is None
    assert found.values["head/head-gpu", "site"].problem is Reason.NO_DATA
    assert found.whens["head/head-gpu", "site"] is Truth.FALSE

    site.end_exporter()
    left = await until(
        lambda: site.series("site"),
        lambda series: {name for name, _, _ in series} == {
            "grid:up", "grid:last_sample_timestamp_seconds", "grid:sample_age_seconds",
        },
    )  # fmt: skip
    assert left["grid:up", "", ""].value == 0
    await until(lambda: site.series("site"), lambda series: series["grid:sample_age_seconds", "", ""].value > 5)
    found = await site.seen()
    assert found.values["head/head-cpu", "site"].problem is Reason.DOWN
    assert (found.nodes["site"].up, found.nodes["own"].up) == (False, True)

    site.start_exporter()
    again = await until(lambda: site.series("site"), lambda series: cpu in series)
    assert again["grid:up", "", ""].value == 1
    assert site.failing_rules() == {}
