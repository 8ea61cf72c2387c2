"""The examples in deploy/alerting: fine by Prometheus' and Alertmanager's own checkers, with the code's addresses."""

import subprocess
from pathlib import Path

import pytest
import yaml

from offloader.config.models import Controller

FOLDER = Path(__file__).resolve().parent.parent.parent / "deploy/alerting"


def read(name):
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def receivers():
    return {one["name"]: one for one in read("alertmanager.yml")["receivers"]}


@pytest.mark.promtool
def test_promtool_and_amtool_find_nothing_wrong(promtool):
    for command in (
        [promtool, "check", "config", FOLDER / "prometheus.yml"],
        [promtool.with_name("amtool"), "check-config", FOLDER / "alertmanager.yml"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        warnings = [line for line in (done.stdout + done.stderr).splitlines() if "WARN" in line]
        # This file is for `grid-offloader cluster targets` to write.
        assert all("/etc/prometheus/grid-exporter.json" in line for line in warnings), warnings


@pytest.mark.promtool
@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["alertname=GridJobLost", "severity=ticket"], "tickets"),
        (["alertname=GridOriginalFrozen", "severity=page"], "pager"),
        (["alertname=GridWatchdog", "severity=none"], "dead-mans-switch"),
        (["alertname=HeadIsSlow", "severity=none", "offload=yes"], "grid-offloader,nobody"),
        (["alertname=HeadIsSlow", "severity=page", "offload=yes"], "grid-offloader,pager"),
        (["alertname=HeadIsSlow", "offload=yes"], "grid-offloader"),
        (["alertname=OfTheSite"], "tickets"),
    ],
)
def test_each_alert_goes_where_its_severity_says(promtool, labels, told):
    amtool = promtool.with_name("amtool")
    command = [amtool, "config", "routes", "test", f"--config.file={FOLDER / 'alertmanager.yml'}", *labels]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told


def test_the_controller_is_reached_where_it_listens():
    listen = Controller.model_fields["listen"].default
    [webhook] = receivers()["grid-offloader"]["webhook_configs"]
    assert webhook["url"] == f"http://{listen}/api/v1/alerts"
    assert webhook["send_resolved"] is True
    assert webhook["http_config"]["authorization"]["type"] == "Bearer"
    jobs = {job["job_name"]: job for job in read("prometheus.yml")["scrape_configs"]}
    assert jobs["grid-offloader"]["static_configs"] == [{"targets": [listen]}]


def test_prometheus_loads_the_shipped_rules():
    [pattern] = read("prometheus.yml")["rule_files"]
    assert {file.name for file in FOLDER.glob(pattern)} >= {"alerts.yml", "grid_exporter.yml", "offers.yml"}
