"""Every alert says how urgent it is and where its runbook is, that runbook exists, and a promtool test has it fire."""

import re
from pathlib import Path

import pytest
import yaml

from offloader.config.shipped import shipped

PROJECT = Path(__file__).resolve().parent.parent.parent
PAGE = PROJECT / "docs/alerting.md"
PAGES = {"GridControllerBlind", "GridOriginalFrozen", "GridOwnershipUnanswered", "GridJobRespawned"}
"""A person must act: nobody watches, an original stays frozen, two copies are possible. Nothing else wakes anybody."""


def alerts():
    for file in sorted(shipped("rules", "prometheus").rglob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from (rule for rule in group["rules"] if "alert" in rule)


def headings():
    return re.findall(r"^### (Grid\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("alert", list(alerts()), ids=lambda one: one["alert"])
def test_urgency_and_runbook(alert):
    name, labels, notes = alert["alert"], alert["labels"], alert["annotations"]
    expected = "page" if name in PAGES else "none" if name == "GridWatchdog" else "ticket"
    assert labels == {"severity": expected}
    assert notes["runbook"] == f"docs/alerting.md#{name.lower()}"
    assert notes["summary"].endswith(".")


def test_every_alert_has_one_runbook_and_every_runbook_its_alert():
    assert sorted(headings()) == sorted(alert["alert"] for alert in alerts())


def test_runbooks_of_pages_say_so():
    text = PAGE.read_text(encoding="utf-8")
    for name in headings():
        body = text.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert body.startswith("*Page.*") == (name in PAGES), name
        assert "*Do" in body, name


def fired(case):
    """Names of the alerts of which a test expects that they fire."""
    for asked in case.get("alert_rule_test", ()):
        if asked.get("exp_alerts"):
            yield asked["alertname"]
    for asked in case.get("promql_expr_test", ()):
        if asked.get("exp_samples") and "ALERTS{" in asked["expr"]:
            texts = (asked["expr"], *(one["labels"] for one in asked["exp_samples"]))
            yield from (name for text in texts for name in re.findall(r'alertname="(\w+)"', text))


def test_every_alert_fires_in_some_test():
    files = (PROJECT / "rules/tests").glob("*.yml")
    cases = [case for file in files for case in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]]
    assert {alert["alert"] for alert in alerts()} <= {name for case in cases for name in fired(case)}
