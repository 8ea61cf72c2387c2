"""`config`, `rules` and `cluster targets` as people run them: what is on stdout, what on stderr, the exit code."""

import json
import os
import re
import stat
from pathlib import Path

import pytest
import yaml

from offloader.cli.main import main
from offloader.cli.rules import _ask_promtool

CLUSTER = """\
cluster: lab
nodes:
  - {name: head, role: head, address: 192.0.2.1}
  - {name: gpu1, role: worker, address: "2001:db8::1", exporter_port: 9999, labels: {rack: r1}, share: false}
"""


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command line: (exit code, stdout, stderr)."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GRID_OFFLOADER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*argv):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in argv])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture
def cluster(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER, encoding="utf-8")
    return file


def test_init_check_show_in_a_row(run, tmp_path):
    """A newcomer's first three commands."""
    file = tmp_path / "new" / "cluster.yaml"
    code, out, err = run("config", "init", file, "--head", "login1", "--worker", "gpu1=192.0.2.11")
    assert (code, out) == (0, f"{file}\n")
    assert f"config check {file}" in err
    assert run("config", "check", file) == (0, f"{file}: fine, 2 nodes\n", "")
    code, out, _ = run("config", "show", "--config", file)
    assert code == 0
    assert ["nodes[1].address", "192.0.2.11"] in [line.split()[:2] for line in out.splitlines()]


def test_init_never_overwrites(run, cluster):
    code, _, err = run("config", "init", cluster)
    assert code == 1
    assert "exists already" in err
    assert cluster.read_text(encoding="utf-8") == CLUSTER


def test_init_refuses_names_that_make_no_valid_file(run, tmp_path):
    code, _, err = run("config", "init", tmp_path / "x.yaml", "--head", "two words")
    assert code == 2
    assert "two words" in err
    assert not (tmp_path / "x.yaml").exists()


def test_init_prints_where_asked_to(run):
    code, out, _ = run("config", "init", "-", "--cluster", "hall")
    assert code == 0
    assert "cluster: hall\n" in out


@pytest.mark.root
def test_init_of_root_is_for_the_machine(run, monkeypatch, tmp_path):
    monkeypatch.setattr("offloader.places.config_files", lambda: (tmp_path / "own", tmp_path / "etc" / "cluster.yaml"))
    assert run("config", "init")[1] == f"{tmp_path}/etc/cluster.yaml\n"


def test_check_prints_every_problem_to_stdout_and_fails(run, cluster):
    cluster.write_text(CLUSTER + "unknown: 1\nmulti_user: on\n", encoding="utf-8")
    code, out, err = run("config", "check", cluster)
    assert code == 1
    assert [line.partition(": ")[0] for line in out.splitlines()] == [f"{cluster}:5:1", f"{cluster}:6:13"]
    assert "2 problems" in err
    code, out, _ = run("config", "check", cluster, "--format", "json")
    assert code == 1
    assert [(one["line"], one["column"]) for one in json.loads(out)["problems"]] == [(5, 1), (6, 13)]


def test_without_any_file_the_message_says_what_was_tried_and_what_to_run(run, tmp_path):
    for command in (("config", "check"), ("config", "show"), ("cluster", "targets"), ("cluster", "rules")):
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert f"{tmp_path}/config/grid-offloader/cluster.yaml" in err
        assert "grid-offloader config init" in err


def test_show_tells_values_and_where_they_come_from(run, cluster):
    code, out, _ = run("config", "show", "-c", cluster)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert code == 0
    assert rows["nodes[1].share.enabled"] == ["false", f"{cluster}:4"]
    assert rows["auto_offload.thresholds.cpu"] == ["80%", "default"]
    assert rows["prometheus.scrape_interval"] == ["5s", "default"]


def test_what_show_prints_as_json_is_a_cluster_file(run, cluster, tmp_path):
    """Units included: it can be read back."""
    code, out, _ = run("config", "show", "-c", cluster, "--format", "json")
    assert code == 0
    document = _without_nothing(json.loads(out))
    again = tmp_path / "again.yaml"
    again.write_text(json.dumps(document), encoding="utf-8")
    assert run("config", "check", again)[0] == 0
    assert _without_nothing(json.loads(run("config", "show", "-c", again, "--format", "json")[1])) == document


def _without_nothing(value):
    if isinstance(value, dict):
        return {key: _without_nothing(item) for key, item in value.items() if item is not None}
    return [_without_nothing(item) for item in value] if isinstance(value, list) else value


def test_targets_are_a_file_sd_document(run, cluster):
    code, out, _ = run("cluster", "targets", "-c", cluster)
    assert code == 0
    assert json.loads(out) == [
        {"targets": ["192.0.2.1:9777"], "labels": {"cluster": "lab", "node": "head", "role": "head"}},
        {
            "targets": ["[2001:db8::1]:9999"],
            "labels": {"cluster": "lab", "rack": "r1", "node": "gpu1", "role": "worker"},
        },
    ]


def test_targets_replace_the_file_as_a_whole(run, cluster, tmp_path):
    """Prometheus may read at any moment: it holds the old file or gets the new one, and may read it."""
    file = tmp_path / "targets.json"
    file.write_text("[]", encoding="utf-8")
    before = file.open(encoding="utf-8")
    old_umask = os.umask(0o077)
    try:
        code, out, err = run("cluster", "targets", "-c", cluster, "-o", file)
    finally:
        os.umask(old_umask)
    assert (code, out) == (0, "")
    assert str(file) in err
    with before:
        assert before.read() == "[]"
    assert len(json.loads(file.read_text(encoding="utf-8"))) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.yaml", "targets.json"]


def test_targets_that_cannot_be_written_leave_nothing(run, cluster, tmp_path):
    code, _, err = run("cluster", "targets", "-c", cluster, "-o", tmp_path / "none" / "targets.json")
    assert code == 1
    assert "cannot be written" in err


def test_a_broken_cluster_file_writes_no_targets(run, cluster, tmp_path):
    cluster.write_text("cluster: lab\n", encoding="utf-8")
    assert run("cluster", "targets", "-c", cluster, "-o", tmp_path / "targets.json")[0] == 1
    assert not (tmp_path / "targets.json").exists()


def test_rules_of_the_nodes_are_printed_or_written_for_prometheus(run, cluster, tmp_path):
    cluster.write_text(CLUSTER + "prometheus: {node_label: instance}\n", encoding="utf-8")
    code, out, _ = run("cluster", "rules", "-c", cluster)
    assert code == 0
    (group,) = yaml.safe_load(out)["groups"]
    assert group["rules"][0] == {
        "record": "grid:cluster_node",
        "labels": {"known_as": "head", "node": "head", "role": "head"},
        "expr": "vector(1)",
    }
    assert '"instance"' in group["rules"][-1]["expr"]
    file = tmp_path / "nodes.yml"
    assert run("cluster", "rules", "-c", cluster, "-o", file)[:2] == (0, "")
    assert file.read_text(encoding="utf-8") == out
    cluster.write_text("cluster: lab\n", encoding="utf-8")
    assert run("cluster", "rules", "-c", cluster, "-o", file)[0] == 1
    assert file.read_text(encoding="utf-8") == out


def test_rules_check_without_anything_checks_the_shipped_rules(run):
    assert run("rules", "check") == (0, "fine, 3 rules\n", "")


BROKEN = """\
groups:
  - name: g
    rules:
      - {offload: a, expr: "rate(x[1m]", resource: cpu}
      - {offload: b, expr: x, resource: cpu, move: {nodes: [gpu7]}}
"""


def test_rules_check_knows_the_clusters_nodes(run, cluster, tmp_path):
    file = tmp_path / "rules.yml"
    file.write_text(BROKEN, encoding="utf-8")
    code, out, err = run("rules", "check", file, "-c", cluster)
    assert code == 1
    assert len(out.splitlines()) == 2
    assert 'no worker is called "gpu7"; did you mean "gpu1"?' in out
    assert "2 problems" in err
    code, out, _ = run("rules", "check", file, "--format", "json")
    assert code == 1
    assert [one["line"] for one in json.loads(out)["problems"]] == [4]


def test_rules_check_tells_seven_mistakes_in_one_run_each_with_its_place(run):
    """With promtool's opinion and without it: that may only be more precise about the column."""
    file = Path(__file__).parent / "seven_mistakes.bad.yml"
    code, out, err = run("rules", "check", file)
    assert code == 1
    places = [re.match(rf"{re.escape(str(file))}:(\d+):(\d+): .", line) for line in out.splitlines()]
    assert [int(place[1]) for place in places] == [7, 11, 16, 18, 21, 26, 30]
    assert all(int(place[2]) > 1 for place in places)
    assert err == "7 problems\n"


@pytest.mark.promtool
def test_with_promtool_the_place_inside_the_expression_is_shown(run, tmp_path):
    file = tmp_path / "rules.yml"
    file.write_text(BROKEN, encoding="utf-8")
    assert run("rules", "check", file)[1].startswith(f"{file}:4:39: expr: no valid PromQL: unclosed left parenthesis")


def test_a_promtool_that_cannot_be_run_changes_nothing(tmp_path):
    assert _ask_promtool(str(tmp_path / "none"), ["x"]) == {}


def test_rules_check_with_another_scrape_interval(run):
    code, out, _ = run("rules", "check", "--scrape-interval", "20s")
    assert code == 1
    assert "less than two scrape intervals (2 x 20s)" in out
    assert run("rules", "check", "--scrape-interval", "20")[0] == 2


def test_rules_list_shows_what_is_inherited(run):
    code, out, _ = run("rules", "list")
    assert code == 0
    assert out.splitlines()[1].split()[:6] == ["head-cpu", "cpu", "80", "%", "65", "%"]
    found = json.loads(run("rules", "list", "--format", "json")[1])
    assert [(rule["name"], rule["for_s"], rule["look_back_s"]) for rule in found] == [
        ("head-cpu", 120, 30),
        ("head-memory", 30, 0),
        ("head-gpu", 600, 30),
    ]


def test_an_unreadable_rule_file_is_named(run, tmp_path):
    code, _, err = run("rules", "check", tmp_path / "none.yml")
    assert code == 1
    assert f"{tmp_path}/none.yml:1:1: cannot be read" in err
