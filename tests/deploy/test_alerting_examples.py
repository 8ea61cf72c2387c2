"""The example in deploy/alerting: fine by Alertmanager's own checker, with addresses and files of deploy/grid.yaml."""

import subprocess
from pathlib import Path

import pytest
import yaml

from offloader.config.load import load_cluster

FOLDER = Path(__file__).resolve().parent.parent.parent / "deploy/alerting"


def read(name):
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def receivers():
    return {one["name"]: one for one in read("alertmanager.yml")["receivers"]}


@pytest.mark.promtool
def test_amtool_finds_nothing_wrong(promtool):
    command = [promtool.with_name("amtool"), "check-config", FOLDER / "alertmanager.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr


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


def test_the_controller_is_reached_where_the_shipped_one_listens_with_its_token():
    controller = load_cluster(FOLDER.parent / "grid.yaml").controller
    [webhook] = receivers()["grid-offloader"]["webhook_configs"]
    assert webhook["url"] == f"http://{controller.listen}/api/v1/alerts"
    assert webhook["send_resolved"] is True
    token = str(controller.webhook_token_file)
    assert webhook["http_config"]["authorization"] == {"type": "Bearer", "credentials_file": token}
