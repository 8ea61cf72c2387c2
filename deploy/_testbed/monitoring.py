"""Monitoring of the test bed: our exporter on every node, a real Prometheus on the head, and an Alertmanager."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from _testbed import nodes, services
from _testbed.errors import MissingRequirementError, NodeDownError, TestbedError
from _testbed.files import DEBIAN
from _testbed.settings import PROJECT, Node, Settings
from _testbed.shell import say, wait_until

EXPORTER_PORT, PROMETHEUS_PORT, CONTROLLER_PORT, ALERTMANAGER_PORT = 9777, 9090, 9778, 9093
INTERVAL_S = 2
CLUSTER = "testbed"
# Debian's Alertmanager reads its templates from /usr/share/prometheus, whatever it is told, and nothing else there.
_BIND = 'mount --bind "$0" /usr/share && exec "$@"'
_AMONG_ITS_OWN_FILES = ("unshare", "--mount", "sh", "-c", _BIND, f"{DEBIAN}/usr/share")


def url(settings: Settings) -> str:
    """Prometheus, as the machine and every node reach it."""
    return f"http://{settings.head.ip}:{PROMETHEUS_PORT}"


def up(settings: Settings, interval: float = INTERVAL_S) -> None:
    """Start what is not running and wait until every target has been scraped."""
    for node in settings.nodes:
        start_exporter(settings, node)
    start_prometheus(settings, interval)
    for node in settings.nodes:
        _await_port(settings, node, "exporter", EXPORTER_PORT)
    _await_port(settings, settings.head, "prometheus", PROMETHEUS_PORT)
    wanted = {f"{node.ip}:{EXPORTER_PORT}" for node in settings.nodes}
    wait_until(lambda: healthy_targets(settings) >= wanted, 30, "Prometheus to scrape every exporter")
    say(f"Prometheus is up: {url(settings)}")


def down(settings: Settings) -> None:
    """Stop Alertmanager, Prometheus and the exporters."""
    stop_alertmanager(settings)
    services.stop(settings, settings.head, "prometheus")
    for node in settings.nodes:
        services.stop(settings, node, "exporter")


def start_exporter(settings: Settings, node: Node) -> None:
    """Start the node's exporter unless it runs. Raises NodeDownError."""
    command = [f"{PROJECT}/.venv/bin/grid-exporter", f"--web.listen-address={node.ip}:{EXPORTER_PORT}"]
    services.start(settings, node, "exporter", [*command, "--scope=cgroup"])


def start_prometheus(settings: Settings, interval: float = INTERVAL_S) -> None:
    """Start Prometheus on the head unless it runs. Raises MissingRequirementError when it is not installed."""
    program = DEBIAN / "usr/bin/prometheus"
    if not program.exists():
        raise MissingRequirementError(f"{program} is missing: run deploy/setup")
    directory = settings.root / "prometheus"
    directory.mkdir(exist_ok=True)
    (directory / "prometheus.yml").write_text(_configuration(settings, interval), encoding="utf-8")
    _write_targets(settings, directory)
    command = [
        str(program),
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={settings.private}/prometheus",
        f"--web.listen-address={settings.head.ip}:{PROMETHEUS_PORT}",
        f"--web.local-assets={DEBIAN}/usr/share/prometheus/web",
        "--web.enable-lifecycle",
        "--log.level=warn",
    ]
    services.start(settings, settings.head, "prometheus", command, environment={"GOMAXPROCS": "1"})


def start_alertmanager(settings: Settings, configuration: Path) -> None:
    """Start an Alertmanager on the head, to which Prometheus sends from then on, and wait until it listens.

    Raises MissingRequirementError when it is not installed, TestbedError when it ended at once.
    """
    program = DEBIAN / "usr/bin/prometheus-alertmanager"
    if not program.exists():
        raise MissingRequirementError(f"{program} is missing: run deploy/setup")
    command = [
        *_AMONG_ITS_OWN_FILES,
        str(program),
        f"--config.file={configuration}",
        f"--storage.path={settings.private}/alertmanager",
        f"--web.listen-address={settings.head.ip}:{ALERTMANAGER_PORT}",
        "--cluster.listen-address=",  # alone
        "--log.level=info",
    ]
    services.start(settings, settings.head, "alertmanager", command, environment={"GOMAXPROCS": "1"})
    _await_port(settings, settings.head, "alertmanager", ALERTMANAGER_PORT)
    targets = [{"targets": [f"{settings.head.ip}:{ALERTMANAGER_PORT}"]}]
    _alertmanagers(settings).write_text(json.dumps(targets), encoding="utf-8")


def stop_alertmanager(settings: Settings) -> None:
    """Stop it; Prometheus sends nowhere again."""
    _alertmanagers(settings).unlink(missing_ok=True)
    services.stop(settings, settings.head, "alertmanager")


def _alertmanagers(settings: Settings) -> Path:
    return settings.root / "prometheus" / "alertmanager.json"


def healthy_targets(settings: Settings) -> set[str]:
    """Addresses whose last scrape succeeded."""
    answer = _get(f"{url(settings)}/api/v1/targets?state=active")
    if answer is None:
        return set()
    active = json.loads(answer)["data"]["activeTargets"]
    return {target["discoveredLabels"]["__address__"] for target in active if target["health"] == "up"}


def _await_port(settings: Settings, node: Node, name: str, port: int) -> None:
    """Wait for a service's port; raises NodeDownError, or TestbedError with its output when it ended instead."""
    if nodes.pid(settings, node) is None:
        raise NodeDownError(f"{node.name} is down: deploy/testbed start {node.name}")
    wait_until(
        lambda: nodes.listens((node.ip, port)) or services.group_of(settings, node, name) is None,
        20,
        f"{name} on {node.name} to listen",
    )
    if services.group_of(settings, node, name) is None:
        text = services.log(settings, node, name).read_text(encoding="utf-8", errors="replace")
        raise TestbedError(f"{name} on {node.name} ended at once: {text[-1500:].strip()}")


def _configuration(settings: Settings, interval: float) -> str:
    """Prometheus' configuration; JSON is YAML. Targets can be added as files while it runs, rules before a reload."""
    directory = settings.root / "prometheus"
    jobs = [
        {"job_name": name, "file_sd_configs": [{"files": [f"{directory}/{name}*.json"], "refresh_interval": "1s"}]}
        for name in ("grid-exporter", "grid-offloader")
    ]
    every = f"{round(interval * 1000)}ms"
    return json.dumps(
        {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [
                *(str(path) for path in sorted((PROJECT / "rules/prometheus").glob("*.yml"))),
                f"{directory}/rules/*.yml",
            ],
            "alerting": {
                "alertmanagers": [
                    {"file_sd_configs": [{"files": [str(_alertmanagers(settings))], "refresh_interval": "1s"}]}
                ]
            },
            "scrape_configs": jobs,
        },
        indent=2,
    )


def _write_targets(settings: Settings, directory: Path) -> None:
    exporters = [
        {
            "targets": [f"{node.ip}:{EXPORTER_PORT}"],
            "labels": {"cluster": CLUSTER, "node": node.name, "role": node.role},
        }
        for node in settings.nodes
    ]
    # Without a node of its own: its series name those that they tell of.
    controller = [{"targets": [f"{settings.head.ip}:{CONTROLLER_PORT}"], "labels": {"cluster": CLUSTER}}]
    (directory / "grid-exporter.json").write_text(json.dumps(exporters, indent=2), encoding="utf-8")
    (directory / "grid-offloader.json").write_text(json.dumps(controller, indent=2), encoding="utf-8")


def _get(address: str) -> bytes | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError):
        return None
