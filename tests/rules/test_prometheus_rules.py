"""The rule files as Prometheus sees them, and that they fit what the exporter exposes and the controller asks for."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from promql import assert_promql

from exporter.collectors import COLLECTORS
from exporter.registry import OWN_METRICS
from offloader.config import series
from offloader.config.recording import read_recording_rules
from offloader.config.rules import RuleDefaults, check_rules
from offloader.config.shipped import offload_rules, prometheus_rules, shipped
from offloader.daemon.metric_table import METRICS

PROJECT = Path(__file__).resolve().parent.parent.parent
OF_OTHERS = {"up", "ALERTS", series.SHARING_THRESHOLD}


def expressions():
    for file in prometheus_rules():
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield rule.get("record") or rule["alert"], rule["expr"]


def used_names(expression):
    bare = re.sub(r'"[^"]*"|\b(?:by|without|on|ignoring)\s*\([^)]*\)|\[[^]]*\]', " ", expression)
    return set(re.findall(r"\b(?:grid_[a-z0-9_]+|grid:[a-z0-9_:]+|up)\b", bare))


def test_every_series_that_the_controller_asks_for_is_recorded():
    recorded = {name for name, _ in expressions()}
    asked = {value for name, value in vars(series).items() if name.isupper() and str(value).startswith("grid:")}
    assert len(asked) >= 12
    assert asked <= recorded


def test_every_series_that_a_rule_reads_is_exposed_or_recorded():
    """A metric that is renamed in the exporter or the controller would silently empty the rules."""
    exposed = {metric.name for collector in COLLECTORS for metric in collector.metrics}
    exposed |= {metric.name for metric in OWN_METRICS} | set(METRICS)
    recorded = {name for name, _ in expressions()}
    for name, expression in expressions():
        assert used_names(expression) <= exposed | recorded | OF_OTHERS, name


def test_every_file_can_be_read_for_look_backs():
    found, warnings = read_recording_rules(prometheus_rules())
    assert warnings == ()
    assert series.PRESSURE in found


@pytest.mark.promtool
def test_promtool_finds_nothing_wrong_in_the_rule_files(promtool):
    done = subprocess.run(
        [promtool, "check", "rules", *prometheus_rules()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
@pytest.mark.parametrize("file", sorted(PROJECT.glob("rules/tests/*.yml")), ids=lambda file: file.name)
def test_promtools_unit_tests_of_the_rules(promtool, file):
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def labels(**more):
    text = {"job": "grid-exporter", "instance": "a:1", "node": "head", "role": "head", **more}
    return ",".join(f'{name}="{value}"' for name, value in text.items())


STALL_CPU = f"grid:node_pressure_stall:ratio{{{labels(resource='cpu', kind='some')}}}"
STALL_MEMORY = f"grid:node_pressure_stall:ratio{{{labels(resource='memory', kind='some')}}}"
UP = {f"grid:up{{{labels()}}}": 1}


@pytest.mark.promtool
@pytest.mark.parametrize(
    ("rule", "given", "met"),
    [
        pytest.param("head-cpu", {**UP, STALL_CPU: 0.3}, True, id="work waits for cores"),
        pytest.param("head-cpu", {**UP, STALL_CPU: 0.02}, False, id="cores are busy but nobody waits"),
        pytest.param("head-cpu", UP, True, id="a kernel without PSI: use alone decides"),
        pytest.param("head-memory", {**UP, STALL_MEMORY: 0.2}, True, id="work waits for memory"),
        pytest.param("head-memory", {**UP, STALL_MEMORY: 0.0}, False, id="memory is full of something useful"),
        pytest.param("head-memory", UP, True, id="memory without PSI"),
        pytest.param("head-memory", {**UP, STALL_CPU: 0.9}, True, id="PSI of another resource does not count"),
        pytest.param("head-gpu", UP, False, id="a GPU with one owner is in use, not under pressure"),
        pytest.param("head-gpu", {f"grid:node_contended_gpus{{{labels()}}}": 1}, True, id="two users on one GPU"),
        pytest.param("head-cpu", {}, False, id="exporter gone"),
    ],
)
def test_conditions_of_the_shipped_rules(promtool, tmp_path, rule, given, met):
    """`when` is met where it yields exactly one sample for the head."""
    (made,) = (one for one in shipped_rules() if one.name == rule)
    expected = [{"labels": '{node="head"}', "value": 1}] if met else []
    assert_promql(promtool, tmp_path, constant(given), {f"count by (node) ({made.when})": expected})


@pytest.mark.promtool
@pytest.mark.parametrize(
    ("given", "value"),
    [
        pytest.param({f"grid:node_pressure:ratio{{{labels(resource='gpu')}}}": 0.95}, 0.95, id="its utilisation"),
        pytest.param({f"grid:node_gpus{{{labels()}}}": 0}, 0, id="no GPU is no pressure, and not unknown"),
        pytest.param({f"grid:node_gpus{{{labels()}}}": 2}, None, id="GPUs whose use is not known are unknown"),
        pytest.param({}, None, id="nothing known"),
    ],
)
def test_the_value_of_the_shipped_gpu_rule(promtool, tmp_path, given, value):
    (made,) = (one for one in shipped_rules() if one.name == "head-gpu")
    expected = [] if value is None else [{"labels": '{node="head"}', "value": value}]
    assert_promql(promtool, tmp_path, constant(given), {f"sum by (node) ({made.expr})": expected})


def shipped_rules():
    return check_rules(offload_rules(), RuleDefaults(), recording_files=prometheus_rules()).rules


def constant(given):
    return {series: f"{value}x30" for series, value in given.items()}


def test_shipped_files_are_found_in_a_checkout():
    assert shipped("rules") == PROJECT / "rules"
