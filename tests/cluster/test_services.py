"""The one source of how services are started, and everything that is derived from it."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from offloader.cluster.findings import ports_of
from offloader.cluster.prometheus_files import prometheus_snippet
from offloader.cluster.services import Place, service_names, services
from offloader.cluster.unit_text import unit_text
from offloader.config.load import load_cluster

PLACE = Place(app="/e/app", ray="/e/ray", user="grid", home="/home/grid", token="sesame-1234567")


@pytest.fixture
def load(tmp_path):
    def made(**sections):
        nodes = [
            {"name": "h", "role": "head", "address": "10.0.0.1", "state_dir": "/s"},
            {"name": "w", "role": "worker", "address": "10.0.0.2", "state_dir": "/s", "ray_options": ["--num-gpus=2"]},
        ]
        file = tmp_path / "cluster.yaml"
        file.write_text(json.dumps({"cluster": "lab", "nodes": nodes, **sections}))
        return load_cluster(file)

    return made


def of(cluster, node="h", place=PLACE):
    return {one.name: one for one in services(cluster, cluster.node(node), place, Path("/c.yaml"))}


def test_a_prometheus_of_our_own_runs_only_where_none_is_configured(load):
    assert "prometheus" in of(load())
    assert "prometheus" not in of(load(prometheus={"url": "http://10.0.0.9:9090"}))
    assert "prometheus" in of(load(prometheus={"url": "http://10.0.0.1:9091"}, manage={"prometheus": True}))


def test_a_port_changed_in_the_file_changes_everywhere(load):
    cluster = load(
        prometheus={"exporter_port": 1001},
        ray={"port": 1002, "node_port": 1003, "address": "http://10.0.0.1:1004"},
        controller={"listen": "127.0.0.1:1005"},
    )
    head, worker = of(cluster), of(cluster, "w")
    assert "--web.listen-address=10.0.0.1:1001" in head["exporter"].argv
    assert {"--port=1002", "--node-manager-port=1003", "--dashboard-port=1004"} <= set(head["ray"].argv)
    assert {"--address=10.0.0.1:1002", "--node-manager-port=1003"} <= set(worker["ray"].argv)
    files = {file.path: file.text for file in head["prometheus"].files}
    targets = json.loads(files["/s/prometheus/targets/grid-exporter.json"])
    assert [entry["targets"] for entry in targets] == [["10.0.0.1:1001"], ["10.0.0.2:1001"]]
    assert "127.0.0.1:1005" in files["/s/prometheus/prometheus.yml"]
    listening = {port for _, _, port in ports_of(cluster, cluster.head)}
    assert listening == {1001, 1002, 1003, 1004, 1005, 9090}


def test_what_prometheus_scrapes_tells_its_cluster_and_nothing_that_its_series_tell_themselves(load):
    files = {file.path: file.text for file in of(load())["prometheus"].files}
    exporters = json.loads(files["/s/prometheus/targets/grid-exporter.json"])
    assert [entry["labels"] for entry in exporters] == [
        {"cluster": "lab", "node": "h", "role": "head"},
        {"cluster": "lab", "node": "w", "role": "worker"},
    ]
    jobs = json.loads(files["/s/prometheus/prometheus.yml"])["scrape_configs"]
    fixed = {job["job_name"]: job["static_configs"] for job in jobs if "static_configs" in job}
    assert [entry["labels"] for entry in fixed["grid-offloader"]] == [{"cluster": "lab"}]


def test_ray_keeps_its_state_on_disk_listens_privately_and_knows_the_token_by_file_only(load):
    ray = of(load())["ray"]
    assert ray.environ["RAY_gcs_storage"] == "rocksdb"
    assert ray.environ["RAY_gcs_storage_path"] == "/s/ray/gcs"
    assert "--dashboard-host=10.0.0.1" in ray.argv
    assert PLACE.token not in repr((ray.argv, ray.environ, ray))
    sessions = ray.environ["RAY_TMPDIR"]
    assert [(file.path, file.mode) for file in ray.files] == [("/s/ray/token", "0600"), (f"{sessions}/README", "0600")]
    assert ray.files[0].text == PLACE.token


def test_what_ray_writes_is_for_its_account_alone(load):
    found = of(load())
    assert [name for name, one in found.items() if one.private] == ["ray"]
    text = unit_text(found["ray"], system=True).splitlines()
    assert {"UMask=0077", "StateDirectoryMode=0700", "RuntimeDirectoryMode=0700"} <= set(text)
    assert "UMask=0022" in unit_text(found["controller"], system=True)


def test_several_users_ray_is_an_accounts_of_its_own_where_only_root_makes_directories(load):
    cluster = load(multi_user=True, manage={"ray_user": "grid-ray"})
    found = of(cluster, "w", dataclasses.replace(PLACE, user="root", home="/root"))
    assert {name: one.user for name, one in found.items()} == {"exporter": "root", "ray": "grid-ray"}
    ray = found["ray"]
    sessions = ray.environ["RAY_TMPDIR"]
    assert sessions.startswith("/run/grid-ray-")
    assert (ray.environ["HOME"], ray.environ["RAY_AUTH_TOKEN_PATH"]) == ("/s-ray", "/s-ray/token")
    assert [(file.path, file.mode, file.owner) for file in ray.files] == [
        *(("/s-ray/token", "0600", "grid-ray"), (f"{sessions}/README", "0600", "grid-ray"))
    ]
    text = unit_text(ray, system=True)
    assert {"User=grid-ray", "UMask=0077", "RuntimeDirectoryMode=0700"} <= set(text.splitlines())
    assert f"RuntimeDirectory={sessions.removeprefix('/run/')}\n" in text
    assert "NoNewPrivileges" not in text  # sudo could not be used


def test_options_and_variables_of_the_file_come_last(load):
    cluster = load(ray={"environment": {"RAY_health_check_period_ms": "9"}})
    ray = of(cluster, "w")["ray"]
    assert ray.argv[-1] == "--num-gpus=2"
    assert ray.environ["RAY_health_check_period_ms"] == "9"


def test_the_mark_changes_with_anything_that_a_service_is_started_with(load):
    exporter = of(load())["exporter"]
    assert exporter.mark == of(load())["exporter"].mark
    for change in ({"argv": ("/x",)}, {"environ": {}}, {"leaves": True}):
        assert dataclasses.replace(exporter, **change).mark != exporter.mark
    ray = of(load())["ray"]
    assert of(load(), place=dataclasses.replace(PLACE, token="another"))["ray"].mark != ray.mark


def test_names_are_those_of_the_services(load):
    cluster = load()
    assert service_names(cluster, cluster.head) == tuple(of(cluster))
    assert service_names(cluster, cluster.workers[0]) == ("exporter", "ray")


def test_units_run_what_keepers_run_and_are_as_tight_as_the_duty_allows(load):
    found = of(load())
    exporter = unit_text(found["exporter"], system=True)
    assert f"ExecStart={' '.join(found['exporter'].argv)}\n" in exporter
    assert "ProtectSystem=strict" in exporter
    assert "User=grid" in exporter
    assert f"# mark: {found['exporter'].mark}" in exporter
    controller = unit_text(found["controller"], system=True)
    assert "KillMode=process" in controller
    assert "Type=notify" in controller
    assert "ProtectSystem" not in controller
    assert "User=" not in unit_text(found["ray"], system=False)
    assert "WantedBy=default.target" in unit_text(found["ray"], system=False)


def test_words_with_blanks_percents_and_dollars_reach_the_program_as_they_are(load):
    service = dataclasses.replace(of(load())["exporter"], argv=("/x", "a b", "100%", "$HOME", 'q"q', ""))
    assert 'ExecStart=/x "a b" 100%% $$HOME "q\\"q" ""\n' in unit_text(service, system=True)


def test_an_alertmanager_runs_beside_our_prometheus_where_its_program_is_there(load, tmp_path):
    manage = {"alertmanager_program": str(tmp_path / "alertmanager")}
    assert "alertmanager" not in of(load(manage=manage))
    (tmp_path / "alertmanager").touch()
    assert "alertmanager" in of(load(manage=manage))
    assert "alertmanager" not in of(load(manage={**manage, "alertmanager": False}))
    assert "alertmanager" not in of(load(manage=manage, prometheus={"url": "http://10.0.0.9:9090"}))
    assert "alertmanager" in of(load(manage={"alertmanager": True}))


@pytest.mark.promtool
def test_it_tells_the_controller_by_the_shipped_routes_and_nobody_else(load, promtool, tmp_path):
    cluster = load(manage={"alertmanager": True}, controller={"listen": "127.0.0.1:1005", "state_dir": "/c"})
    alertmanager = of(cluster)["alertmanager"]
    assert "--config.file=/s/alertmanager/alertmanager.yml" in alertmanager.argv
    [file] = alertmanager.files
    assert file.path == "/s/alertmanager/alertmanager.yml"
    receivers = {one.pop("name"): one for one in json.loads(file.text)["receivers"]}
    [webhook] = receivers.pop("grid-offloader")["webhook_configs"]
    assert webhook["url"] == "http://127.0.0.1:1005/api/v1/alerts"
    assert webhook["http_config"]["authorization"] == {"type": "Bearer", "credentials_file": "/c/webhook.token"}
    assert list(receivers) == ["pager", "tickets", "dead-mans-switch", "nobody"]
    assert not any(receivers.values())
    written = tmp_path / "alertmanager.yml"
    written.write_text(file.text)
    subprocess.run([promtool.with_name("amtool"), "check-config", written], check=True, capture_output=True)


def test_an_alertmanager_takes_the_configuration_that_it_is_given_and_prometheus_tells_it(load):
    found = of(load(manage={"alertmanager_config": "/etc/a.yml", "alertmanager_listen": "127.0.0.1:1006"}))
    assert {"--config.file=/etc/a.yml", "--web.listen-address=127.0.0.1:1006"} <= set(found["alertmanager"].argv)
    assert found["alertmanager"].files == ()
    assert found["alertmanager"].listens == (("127.0.0.1", 1006),)
    files = {file.path: file.text for file in found["prometheus"].files}
    configuration = json.loads(files["/s/prometheus/prometheus.yml"])
    assert configuration["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["127.0.0.1:1006"]}]}]
    assert list(found) == ["exporter", "alertmanager", "prometheus", "ray", "controller"]


def test_what_an_existing_prometheus_needs_is_what_ours_has(load):
    cluster = load()
    files = {file.path: file.text for file in of(cluster)["prometheus"].files}
    ours = json.loads(files["/s/prometheus/prometheus.yml"])["scrape_configs"]
    theirs = yaml.safe_load(prometheus_snippet(cluster, "/s/prometheus/targets/grid-exporter.json"))
    every = {"scrape_interval": "5s", "scrape_timeout": "5s"}
    assert theirs["scrape_configs"] == [{**job, **every} for job in ours if job["job_name"] != "prometheus"]
    assert all(Path(file).is_file() for file in theirs["rule_files"])
