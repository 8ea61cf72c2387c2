"""`config grafana` writes what Grafana's provisioning needs, with this cluster's Prometheus."""

import pytest
import yaml

from offloader.cli.main import run_command
from offloader.config.shipped import shipped


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "cluster.yaml"
    made.write_text(
        "cluster: lab\nnodes: [{name: h, role: head, address: 10.0.0.1}]\n"
        "prometheus: {url: 'http://10.0.0.9:9091', scrape_interval: 15s}\n"
    )
    return made


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_data_source_is_the_clusters_prometheus_and_the_dashboards_are_found(file, tmp_path):
    etc, lib = tmp_path / "etc", tmp_path / "lib/grid"
    words = ["config", "grafana", "-c", str(file), "--provisioning", str(etc), "--dashboards", str(lib)]
    assert run_command(words) == 0
    # As they are shipped, but for this cluster's values.
    sources = read(shipped("grafana", "provisioning", "datasources", "grid-offloader.yml"))
    sources["datasources"][0]["url"] = "http://10.0.0.9:9091"
    sources["datasources"][0]["jsonData"]["timeInterval"] = "15s"
    assert read(etc / "datasources/grid-offloader.yml") == sources
    providers = read(shipped("grafana", "provisioning", "dashboards", "grid-offloader.yml"))
    providers["providers"][0]["options"]["path"] = str(lib)
    assert read(etc / "dashboards/grid-offloader.yml") == providers
    dashboards = {path.name: path.read_text() for path in shipped("grafana", "dashboards").glob("*.json")}
    assert {path.name: path.read_text() for path in lib.iterdir()} == dashboards
    assert {path.stat().st_mode & 0o777 for path in (*etc.rglob("*.yml"), *lib.iterdir())} == {0o644}


def test_a_directory_that_cannot_be_made_is_told(file, tmp_path, capsys):
    (tmp_path / "etc").touch()
    assert run_command(["config", "grafana", "-c", str(file), "--provisioning", str(tmp_path / "etc/grafana")]) == 1
    assert "cannot be made" in capsys.readouterr().err
