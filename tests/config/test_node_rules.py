"""The rules that tell which of Prometheus' targets is which node, as Prometheus evaluates them."""

import pytest
from promql import assert_promql

from offloader.config.load import check_cluster
from offloader.config.node_rules import CLUSTER_NODE, TARGET_NODE, node_rules_yaml
from offloader.config.shipped import shipped

NODE_EXPORTER = shipped("rules", "prometheus", "sources", "node_exporter.yml")

CLUSTER = """\
cluster: lab
nodes:
  - {name: login1, role: head, address: 192.0.2.10, aliases: [localhost]}
  - {name: gpu1, role: worker, address: "2001:db8::1", aliases: [gpu1.example.org]}
  - {name: gpu2, role: worker, address: 192.0.2.12}
"""


@pytest.fixture
def rules(tmp_path):
    """The file that `cluster rules` writes, for CLUSTER with one more line."""

    def write(more):
        cluster = tmp_path / "cluster.yaml"
        cluster.write_text(CLUSTER + more, encoding="utf-8")
        file = tmp_path / "nodes.yml"
        file.write_text(node_rules_yaml(check_cluster(cluster).cluster), encoding="utf-8")
        return file

    return write


def head(job, instance):
    return f'{{job="{job}",instance="{instance}",node="login1",role="head"}}'


def gpu1(job, instance):
    return f'{{job="{job}",instance="{instance}",node="gpu1",role="worker"}}'


@pytest.mark.promtool
@pytest.mark.parametrize(
    ("target", "known"),
    [
        pytest.param('job="node",instance="login1:9100"', head("node", "login1:9100"), id="by name"),
        pytest.param('job="node",instance="192.0.2.10:9100"', head("node", "192.0.2.10:9100"), id="by address"),
        pytest.param('job="node",instance="localhost:9100"', head("node", "localhost:9100"), id="by alias"),
        pytest.param('job="dcgm",instance="login1"', head("dcgm", "login1"), id="without a port"),
        pytest.param('job="n",instance="[2001:db8::1]:9100"', gpu1("n", "[2001:db8::1]:9100"), id="IPv6"),
        pytest.param('job="n",instance="2001:db8::1"', gpu1("n", "2001:db8::1"), id="IPv6 without a port"),
        pytest.param(
            'job="n",instance="login1:9100",node="other",role="x"', head("n", "login1:9100"), id="labels of the site"
        ),
        pytest.param('job="node",instance="login10:9100"', None, id="another node whose name begins alike"),
        pytest.param('job="node",instance="gpu1.other.org:9100"', None, id="another domain"),
        pytest.param('job="blackbox",instance="https://login1/"', None, id="no host and port"),
        pytest.param('job="node",node="login1"', None, id="no such label"),
    ],
)
def test_a_target_is_known_as_a_node_by_its_label(promtool, tmp_path, rules, target, known):
    file = rules("prometheus: {node_label: instance}\n")
    expected = [] if known is None else [{"labels": f"{TARGET_NODE}{known}", "value": 1}]
    assert_promql(
        promtool, tmp_path, {f"up{{{target}}}": "1x5 0x5"}, {TARGET_NODE: expected}, rule_files=[file], at="18s"
    )


@pytest.mark.promtool
def test_any_label_of_the_targets_can_name_the_nodes(promtool, tmp_path, rules):
    file = rules("prometheus: {node_label: machine}\n")
    given = {'up{job="all",instance="x:1",machine="gpu1"}': "1x9", 'up{job="all",instance="login1:1"}': "1x9"}
    expected = [{"labels": f"{TARGET_NODE}{gpu1('all', 'x:1')}", "value": 1}]
    assert_promql(promtool, tmp_path, given, {TARGET_NODE: expected}, rule_files=[file], at="10s")


@pytest.mark.promtool
def test_the_label_is_node_where_nothing_is_said(promtool, tmp_path, rules):
    given = {'up{job="all",instance="x:1",node="gpu1"}': "1x9"}
    expected = [{"labels": f"{TARGET_NODE}{gpu1('all', 'x:1')}", "value": 1}]
    assert_promql(promtool, tmp_path, given, {TARGET_NODE: expected}, rule_files=[rules("")], at="10s")


@pytest.mark.promtool
def test_a_node_with_our_exporter_is_read_from_that_alone_dead_or_alive(promtool, tmp_path, rules):
    """Else it would be two exporters that claim to be one node."""
    file = rules("prometheus: {node_label: instance}\n")
    given = {
        'up{job="grid-exporter",instance="192.0.2.10:9777",node="login1",role="head"}': "0x9",
        'up{job="node",instance="login1:9100"}': "1x9",
        'up{job="node",instance="gpu1:9100"}': "1x9",
    }
    expected = [{"labels": f"{TARGET_NODE}{gpu1('node', 'gpu1:9100')}", "value": 1}]
    assert_promql(promtool, tmp_path, given, {TARGET_NODE: expected}, rule_files=[file], at="10s")


@pytest.mark.promtool
def test_one_endpoint_scraped_on_two_paths_is_one_target(promtool, tmp_path, rules):
    """As kubelets are; joins that meet two of a kind fail as a whole, for all nodes."""
    file = rules("prometheus: {node_label: instance}\n")
    given = {
        'up{job="kubelet",instance="gpu1:1",metrics_path="/metrics"}': "1x9",
        'up{job="kubelet",instance="gpu1:1",metrics_path="/metrics/cadvisor"}': "0x9",
    }
    expected = [{"labels": f"{TARGET_NODE}{gpu1('kubelet', 'gpu1:1')}", "value": 1}]
    assert_promql(promtool, tmp_path, given, {TARGET_NODE: expected}, rule_files=[file], at="10s")


@pytest.mark.promtool
@pytest.mark.parametrize(
    "machines",
    [
        pytest.param(["gpu1", "gpu2"], id="two nodes"),
        pytest.param(["gpu1", "elsewhere"], id="a node and a machine that is none"),
        pytest.param(["gpu1", ""], id="a node and what says no name"),
    ],
)
def test_one_job_and_instance_for_two_machines_is_nobodys_and_harms_no_other(promtool, tmp_path, rules, machines):
    """As of exporters behind one proxy: whose a series is cannot be told by what is joined on."""
    files = [rules("prometheus: {node_label: machine}\n"), NODE_EXPORTER]
    targets = ['job="node",instance="login1:9100",machine="login1"']
    targets += [f'job="node",instance="proxy:80",machine="{name}"' for name in machines]
    names = ("up", "node_time_seconds", "node_memory_MemTotal_bytes")
    given = {f"{name}{{{target}}}": "1x9" for name in names for target in targets}
    known = {"grid:up": 'machine="login1",', "grid:node_memory_bytes": 'machine="login1",', TARGET_NODE: ""}
    asked = {
        name: [{"labels": f'{name}{{{more}job="node",instance="login1:9100",node="login1",role="head"}}', "value": 1}]
        for name, more in known.items()
    }
    assert_promql(promtool, tmp_path, given, asked, rule_files=files, at="10s")


@pytest.mark.promtool
def test_every_node_is_there_whether_prometheus_has_a_target_for_it_or_not(promtool, tmp_path, rules):
    nodes = [{"labels": f'{{node="{name}",role="{role}"}}', "value": 1} for name, role in NODES]
    asked = {f"group by (node, role) ({CLUSTER_NODE})": nodes}
    assert_promql(promtool, tmp_path, {'up{job="x",instance="y"}': "1x9"}, asked, rule_files=[rules("")], at="10s")


NODES = (("login1", "head"), ("gpu1", "worker"), ("gpu2", "worker"))


@pytest.mark.promtool
def test_generated_rules_and_sources_work_together(promtool, tmp_path, rules):
    """From what a plain node_exporter job has, `instance` and `job`, to a node with its role."""
    files = [rules("prometheus: {node_label: instance}\n"), NODE_EXPORTER]
    given = {
        'up{job="node",instance="localhost:9100"}': "1x9",
        'node_time_seconds{job="node",instance="localhost:9100"}': "0+2x9",
        'node_memory_MemTotal_bytes{job="node",instance="localhost:9100"}': "16e9x9",
    }
    asked = {
        name: [{"labels": f"{name}{head('node', 'localhost:9100')}", "value": value}]
        for name, value in (("grid:up", 1), ("grid:node_memory_bytes", 16e9))
    }
    assert_promql(promtool, tmp_path, given, asked, rule_files=files, at="10s")
