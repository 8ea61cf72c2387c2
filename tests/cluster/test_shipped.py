"""What deploy/ ships: in step with its source, and clean in the eyes of the programs that will read it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.settings import DEFAULT_PORT
from offloader.cluster.prometheus_files import CONTROLLER_JOB, EXPORTER_JOB
from offloader.cluster.shipping import main, shipped_files
from offloader.config.models import Cluster, Controller, Prometheus, Ray
from offloader.config.series import CLUSTER_LABEL, NODE_LABEL, RESOURCE_LABEL, ROLE_LABEL
from offloader.config.shipped import shipped

PROJECT = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/usr/lib/systemd/system")
STATE = "/var/lib/grid-offloader"
ROLES = ("head", "worker")
FOREIGN = {
    *("22", "53", "80", "443", "3000", "9093", "9100", "9256", "9400", "9835"),  # as their own documentation has them
    *("2222", "9101", "9401", "9836", "99999"),  # examples of other ones, and of a wrong one
}


def test_what_deploy_ships_is_what_the_source_says():
    """Mended by: python -m offloader.cluster.shipping."""
    assert main(["--check"]) == 0
    assert any(path.endswith("grid-ray.service") for path in shipped_files())


def test_a_file_too_many_or_another_text_is_told(tmp_path, monkeypatch, capsys):
    shutil.copytree(shipped("deploy"), tmp_path / "deploy", ignore=shutil.ignore_patterns("_*"))
    monkeypatch.setattr("offloader.cluster.shipping.shipped", tmp_path.joinpath)
    assert main(["--check"]) == 0
    file = tmp_path / "deploy/grid.yaml"
    file.write_text(file.read_text().replace("controller:\n", "controller:\n  listen: 127.0.0.1:9999\n"))
    (tmp_path / "deploy/systemd/head/grid-old.service").touch()
    assert main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "prometheus.yml is stale" in said
    assert "grid-old.service is stale" in said
    main([])
    assert "127.0.0.1:9999" in (tmp_path / "deploy/prometheus/prometheus.yml").read_text()


@pytest.mark.promtool
def test_prometheus_takes_its_configuration_targets_and_rules(promtool, tmp_path):
    shutil.copytree(shipped("deploy", "prometheus"), tmp_path / "prometheus")
    (tmp_path / "prometheus/rules").mkdir()
    for rules in shipped("rules", "prometheus").glob("*.yml"):
        shutil.copy(rules, tmp_path / "prometheus/rules")
    file = tmp_path / "prometheus/prometheus.yml"
    file.write_text(file.read_text().replace(f"{STATE}/prometheus", str(tmp_path / "prometheus")))
    done = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    assert "rule files found" in done.stdout


@pytest.fixture
def root(tmp_path):
    """A root directory as systemd sees one, with our units and stand-ins for what they start."""
    shutil.copytree(SYSTEMD, tmp_path / "usr/lib/systemd/system", symlinks=True)
    for file in ("passwd", "group"):
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / file).write_text("root:x:0:0::/root:/bin/sh\ngrid:x:990:990::/:/bin/sh\n")
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)

    def made(role):
        for unit in shipped("deploy", "systemd", role).glob("*.service"):
            text = unit.read_text()
            (units / unit.name).write_text(text)
            program = tmp_path / re.search(r"^ExecStart=/(\S+)", text, re.MULTILINE)[1]
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
        return units

    return made


def verified(units):
    names = sorted(unit.name for unit in units.glob("grid-*.service"))
    line = ["systemd-analyze", "verify", f"--root={units.parents[2]}", "--man=no", *names]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.systemd
@pytest.mark.parametrize("role", ROLES)
def test_systemd_takes_the_units(root, role):
    assert verified(root(role)) == (0, "")


@pytest.mark.systemd
def test_systemd_would_have_told(root):
    units = root("head")
    (units / "grid-ray.service").write_text((units / "grid-ray.service").read_text().replace("=always", "=alwayz"))
    (units / "grid-exporter.service").write_text("[Service]\nExecStart=/no/such/program\n")
    _, said = verified(units)
    assert "alwayz" in said
    assert "/no/such/program" in said


def ours():
    """Ports that are ours to choose, by what has them."""
    return {
        "exporter": str(Prometheus().exporter_port),
        "controller": Controller().listen.rpartition(":")[2],
        "prometheus": Prometheus().url.rpartition(":")[2],
        "ray": str(Ray().port),
        "ray's node": str(Ray().node_port),
    }


def test_the_exporter_listens_where_configuration_looks_for_it():
    assert Cluster.model_fields["prometheus"].default.exporter_port == DEFAULT_PORT


def test_documents_and_examples_name_the_ports_of_the_source():
    """A port that is changed in the source must be changed there, too."""
    targets = json.loads(shipped("deploy", "prometheus", "targets", "grid-exporter.json").read_text())
    assert {target.rpartition(":")[2] for entry in targets for target in entry["targets"]} == {ours()["exporter"]}
    known = {*ours().values(), "8265", *FOREIGN}
    texts = [*PROJECT.glob("docs/*.md"), PROJECT / "README.md", *PROJECT.glob("deploy/**/*.y*ml")]
    texts += [*PROJECT.glob("grafana/**/*.y*ml")]
    named = {
        (path.name, port)
        for path in texts
        for port in re.findall(r"(?<=[\w\]]):(\d{4,5})\b(?![-:.])", path.read_text(encoding="utf-8"))
    }
    assert {(name, port) for name, port in named if port not in known} == set()
    assert len({port for _, port in named} & set(ours().values())) >= 3


def test_rules_dashboards_and_documents_use_the_labels_and_jobs_of_the_source():
    """A label or a job that is changed in the source must be changed there, too."""
    files = [*PROJECT.glob("rules/**/*.yml"), *PROJECT.glob("grafana/dashboards/*.json")]
    asking = "\n".join(path.read_text(encoding="utf-8") for path in files).replace('\\"', '"')
    told = "\n".join(path.read_text(encoding="utf-8") for path in [PROJECT / "README.md", *PROJECT.glob("docs/*.md")])
    assert set(re.findall(r'(\w+)=~?"worker"', asking + told)) == {ROLE_LABEL}
    assert set(re.findall(r'(\w+)=~?"memory"', asking)) == {RESOURCE_LABEL}
    assert set(re.findall(r"label_values\(grid:up\b[^,]*, (\w+)\)", asking)) == {CLUSTER_LABEL, NODE_LABEL}
    assert set(re.findall(r'\bjob="(grid-[\w-]+)"', asking + told)) == {EXPORTER_JOB, CONTROLLER_JOB}
    assert re.search(rf"\bby \({NODE_LABEL}\)", asking)
    targets = json.loads(shipped("deploy", "prometheus", "targets", "grid-exporter.json").read_text())
    assert {frozenset(entry["labels"]) for entry in targets} == {frozenset({CLUSTER_LABEL, NODE_LABEL, ROLE_LABEL})}
