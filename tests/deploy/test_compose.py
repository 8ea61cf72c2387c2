"""deploy/compose: as Docker Compose itself reads it, with paths, ports and options held to the rest of the project."""

import json
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

import exporter
from exporter.__main__ import parse
from exporter.settings import DEFAULT_PORT
from offloader.cli.serve import serve
from offloader.config.load import load_cluster
from offloader.config.models import Controller, Prometheus
from offloader.config.targets import targets_json

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "deploy/compose"
COMPOSE = PROJECT / ".cache/compose/docker-compose"
DEBIAN = PROJECT / ".cache/debian/usr/bin"
ADDRESS = "192.0.2.10"
OURS = ("exporter", "controller")
CLUSTER = f"cluster: lab\nnodes: [{{name: login1, role: head, address: {ADDRESS}}}]\n"

pytestmark = pytest.mark.compose


def prepare(place, *more, address=ADDRESS):
    options = ("--config", place / "config", "--state", place / "state", "--env", place / "env", *more)
    line = [FOLDER / "prepare", *options, *([address] if address else [])]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)


def compose(place, *more):
    line = [COMPOSE, "--env-file", place / "env", *more, "config", "--format", "json"]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=30, cwd=FOLDER, env={})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A head that is prepared, with the files that people add."""
    place = tmp_path_factory.mktemp("head")
    done = prepare(place)
    assert done.returncode == 0, done.stderr
    assert "needs" in done.stderr
    (place / "config/cluster.yaml").write_text(CLUSTER)
    targets = targets_json(load_cluster(place / "config/cluster.yaml"))
    (place / "config/prometheus/grid-exporter.json").write_text(targets)
    done = prepare(place)
    assert (done.returncode, "needs" in done.stderr) == (0, False)
    return place


@pytest.fixture(scope="module")
def project(place):
    """What Docker Compose makes of it. What it would warn of is a fault here."""
    done = compose(place, "-f", "compose.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def services(project):
    return project["services"]


def mounts(service):
    return {one["target"]: one for one in service.get("volumes", ())}


def options(service):
    return dict(re.fullmatch(r"--([a-z.-]+)=(.*)", word).groups() for word in service["command"])


def seen(services, name, root):
    """What is mounted into the container, below `root`."""
    for target, one in mounts(services[name]).items():
        there = root / target.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        if Path(one["source"]).is_dir():
            shutil.copytree(one["source"], there, dirs_exist_ok=True)
        else:
            shutil.copy(one["source"], there)
    return root


def checked(*line):
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_holds_what_a_head_needs(services):
    assert set(services) == {"exporter", "controller", "prometheus", "alertmanager", "grafana"}


def test_nothing_is_made_of_it_before_it_was_prepared(tmp_path):
    (tmp_path / "env").touch()
    done = compose(tmp_path, "-f", "compose.yaml")
    assert done.returncode != 0
    assert "run deploy/compose/prepare" in done.stderr


def test_a_mistake_would_be_told(place, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("services: {exporter: {memory_limit: 1}}\n")
    done = compose(place, "-f", "compose.yaml", "-f", str(wrong))
    assert done.returncode != 0
    assert "memory_limit" in done.stderr


def test_images_are_pinned_and_ours_has_the_version_of_the_project(services):
    for name, service in services.items():
        repository, tag = service["image"].rsplit(":", 1)
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), service["image"]
        assert (repository == "grid-offloader") == (name in OURS)
        assert ("build" in service) == (name in OURS)
    assert services["exporter"]["image"] == f"grid-offloader:{exporter.__version__}"


def test_every_path_that_it_mounts_exists_and_none_is_made_for_it(services, place):
    for service in services.values():
        for one in mounts(service).values():
            assert Path(one["source"]).exists(), one
            assert one["type"] == "bind"
            assert not one["bind"].get("create_host_path")
            writable = Path(one["source"]).is_relative_to(place / "state")
            assert one.get("read_only", False) is not writable, one


def test_each_listens_where_the_project_says(services):
    _, port = Controller().listen.rsplit(":", 1)
    assert parse(services["exporter"]["command"][1:]).port == DEFAULT_PORT == Prometheus().exporter_port
    assert parse(services["exporter"]["command"][1:]).host == ADDRESS
    assert f"127.0.0.1:{port}/" in str(services["controller"]["healthcheck"]["test"])
    for name, address in {
        "prometheus": Prometheus().url.removeprefix("http://"),
        "alertmanager": alertmanager(),
    }.items():
        assert options(services[name])["web.listen-address"] == address
        assert f"http://{address}" in str(services[name]["healthcheck"]["test"])
    environment = services["grafana"]["environment"]
    grafana = f"{environment['GF_SERVER_HTTP_ADDR']}:{environment['GF_SERVER_HTTP_PORT']}"
    assert f"http://{grafana}/" in str(services["grafana"]["healthcheck"]["test"])


def alertmanager():
    """Where the shipped configuration has Prometheus send its alerts."""
    document = yaml.safe_load((PROJECT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    [one] = document["alerting"]["alertmanagers"]
    return one["static_configs"][0]["targets"][0]


def test_nothing_is_published_by_docker_and_addresses_are_the_hosts(services):
    for service in services.values():
        assert service["network_mode"] == "host"
        assert "ports" not in service


def test_only_what_looks_at_processes_sees_them_and_nothing_has_privileges(services):
    for name, service in services.items():
        assert (service.get("pid") == "host") == (name in OURS)
        assert (service.get("cgroup") == "host") == (name in OURS)
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges=true" in service["security_opt"]
        assert service["read_only"]
        assert not {"privileged", "cap_add", "devices"} & set(service)
        assert "docker.sock" not in str(service)


def test_the_controller_moves_nothing_and_is_given_nothing_to_move_with(services):
    program, command, *words = services["controller"]["command"]
    assert (program, command) == ("grid-offloader", "serve")
    given = serve.make_context("serve", words).params
    assert given["record_only"] is True
    assert str(given["config"]) in mounts(services["controller"])
    assert not [one for one in mounts(services["controller"]).values() if "ssh" in one["source"]]


def test_secrets_are_files_of_their_own_and_no_environment_has_them(project, place):
    files = {one["file"] for one in project["secrets"].values()}
    assert files == {str(place / "config/webhook.token"), str(place / "config/grafana.password")}
    for file in files:
        assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
        assert Path(file).read_text() not in json.dumps(project)
    given = {
        name: [one["source"] for one in service.get("secrets", ())] for name, service in project["services"].items()
    }
    assert {name: names for name, names in given.items() if names} == {
        "controller": ["webhook_token"],
        "alertmanager": ["webhook_token"],
        "grafana": ["grafana_password"],
    }
    password = project["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"]
    assert password == "/run/secrets/grafana_password"


@pytest.mark.promtool
def test_prometheus_takes_what_its_container_sees(services, tmp_path):
    """The shipped configuration, at the path that it is given, with the shipped rules and `cluster targets`' file."""
    root, given = seen(services, "prometheus", tmp_path), options(services["prometheus"])
    config = root / given["config.file"].lstrip("/")
    folder = "/var/lib/grid-offloader/prometheus"
    config.write_text(config.read_text().replace(folder, f"{root}{folder}"))
    said = checked(DEBIAN / "promtool", "check", "config", config)
    assert int(re.search(r"(\d+) rule files found", said)[1]) == len(list((PROJECT / "rules/prometheus").glob("*.yml")))
    [found] = scraped(config)[0]["file_sd_configs"][0]["files"]
    assert json.loads(Path(found).read_text()), "targets"
    labels = {
        one["static_configs"][0].get("labels", {}).get("cluster") for one in scraped(config) if "static_configs" in one
    }
    assert labels == {"lab"}, "as the cluster file calls it"
    assert given["storage.tsdb.path"] in mounts(services["prometheus"])
    assert_known(DEBIAN / "prometheus", given)


def scraped(config):
    return yaml.safe_load(config.read_text())["scrape_configs"]


@pytest.mark.promtool
def test_alertmanager_takes_what_its_container_sees(services, tmp_path):
    root, given = seen(services, "alertmanager", tmp_path), options(services["alertmanager"])
    config = root / given["config.file"].lstrip("/")
    checked(DEBIAN / "amtool", "check-config", config)
    assert given["storage.path"] in mounts(services["alertmanager"])
    [token] = services["alertmanager"]["secrets"]
    assert f"credentials_file: {token['target']}" in config.read_text()
    assert_known(DEBIAN / "prometheus-alertmanager", given)


def assert_known(program, given):
    """The program has all these options."""
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False, timeout=30)
    for name in given:
        assert f"--{name}" in done.stdout + done.stderr


def test_grafana_finds_its_prometheus_and_its_dashboards(services, tmp_path):
    root = seen(services, "grafana", tmp_path)
    provisioning = root / "etc/grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/grid-offloader.yml").read_text())["datasources"]
    assert source["url"] == f"http://{options(services['prometheus'])['web.listen-address']}"
    [provider] = yaml.safe_load((provisioning / "dashboards/grid-offloader.yml").read_text())["providers"]
    assert list((root / provider["options"]["path"].lstrip("/")).glob("grid-*.json"))
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (root / home.lstrip("/")).is_file()


def test_a_node_with_gpus_shows_them_to_the_exporter_alone(place, services):
    done = compose(place, "-f", "compose.yaml", "-f", "compose.gpu.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    with_gpus = json.loads(done.stdout)["services"]
    assert {name for name, one in with_gpus.items() if one != services[name]} == {"exporter"}
    [device] = with_gpus["exporter"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu", "utility"])


def test_preparing_again_keeps_secrets_and_what_people_changed(place):
    files = [
        place / "config" / name for name in ("webhook.token", "grafana.password", "alertmanager.yml", "prometheus.yml")
    ]
    (place / "config/webhook.token").chmod(0o644)
    before = [file.read_text() for file in files]
    assert prepare(place).returncode == 0
    assert [file.read_text() for file in files] == before
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert len(set(before)) == 4


@pytest.mark.parametrize(("more", "address"), [((), ""), (("--nonsense",), ADDRESS), (("--env",), "")])
def test_wrong_usage_is_told_and_nothing_made(tmp_path, more, address):
    assert prepare(tmp_path, *more, address=address).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_the_dockerfile_pins_and_copies_what_is_there():
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG DEBIAN=debian:bookworm-\d{8}-slim$", text, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert stages == ["${DEBIAN}"] * 2
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert {"exporter", "offloader", "rules", "grafana", "deploy"} <= set(copied)
    let_through = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    for name in copied:
        assert (PROJECT / name).exists(), name
        assert f"!{name.split('/')[0]}" in let_through


def test_what_the_image_holds_is_locked_as_everything_else_is():
    """Made by `uv pip compile --generate-hashes --no-annotate --no-header -c requirements.lock pyproject.toml -o …`."""
    everything, image = (locked(PROJECT / name) for name in ("requirements.lock", "deploy/locks/worker.txt"))
    assert {name: everything.get(name) for name in image} == image
    named = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.search(r"^dependencies = \[(.+?)^\]", named, re.MULTILINE | re.DOTALL)[1]
    assert set(re.findall(r'^  "([a-z0-9-]+)', wanted, re.MULTILINE)) <= set(image)


def locked(file):
    """Name → version and hashes."""
    blocks = re.findall(r"^([a-z0-9-]+)==(.+(?:\n .+)*)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: rest.split() for name, rest in blocks}
