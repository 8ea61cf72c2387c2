"""The wheel: what it holds, and that what is installed from it finds its own data."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("exporter", "offloader")
DATA = ("rules", "grafana", "deploy")
LEFTOVERS = (  # what people's tools leave in a tree; none of it is in git
    "offloader/__pycache__/model.cpython-311.pyc",
    "deploy/_demo/__pycache__/cli.cpython-311.pyc",
    "rules/.mypy_cache/CACHEDIR.TAG",
    "deploy/grid.egg-info/PKG-INFO",
    ".cache/debian/usr/bin/prometheus",
    ".venv/bin/python",
)


def tracked() -> list[str]:
    """Every file that git tracks and that is there, from the top of the project."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and os.path.lexists(PROJECT / name)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built without network from a copy of the tree as git has it, plus what tools leave behind."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        if name.startswith(("tests/", "docs/")):
            continue  # no part of a wheel, and the fixtures hold odd files
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, tree / name, follow_symlinks=False)
    for name in LEFTOVERS:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("left behind", encoding="ascii")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out],
        cwd=tree,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel as pip installs it, in a directory of its own; its dependencies are those of this environment."""
    place = tmp_path_factory.mktemp("installed")
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    line += ["--disable-pip-version-check", "--target", place, wheel]
    subprocess.run(line, check=True, capture_output=True, timeout=100)
    return place


def run(installed, *line, **extra):
    """A command of the installed wheel, away from the checkout."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(installed), "PYTHONPATH": str(installed)} | extra
    return subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_wheel_holds_the_packages_rules_and_deploy_data_and_nothing_that_git_does_not_track(wheel):
    names = tracked()
    expected = {name for name in names if name.split("/")[0] in PACKAGES}
    expected |= {f"offloader/_data/{name}" for name in names if name.split("/")[0] in DATA}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert sorted(held - expected) == []
    assert sorted(expected - held) == []
    assert "offloader/_data/rules/offload/default.yml" in held
    assert "offloader/_data/grafana/dashboards/grid-head.json" in held
    assert "offloader/_data/deploy/testbed" in held


def test_scripts_in_the_wheel_can_still_be_run(installed):
    assert os.access(installed / "offloader/_data/deploy/testbed", os.X_OK)
    assert os.access(installed / "bin/grid-offloader", os.X_OK)
    assert os.access(installed / "bin/grid-exporter", os.X_OK)


def test_what_is_installed_finds_its_own_rules(installed):
    program = "from offloader.config.shipped import offload_rules, prometheus_rules; "
    program += "print(*offload_rules(), *prometheus_rules(), sep='\\n')"
    done = run(installed, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    found = [Path(line) for line in done.stdout.splitlines()]
    rules = installed / "offloader/_data/rules"
    assert rules / "offload/default.yml" in found
    assert rules / "prometheus/grid_exporter.yml" in found
    assert all(path.is_relative_to(rules) and path.is_file() for path in found)


def test_the_installed_command_checks_its_rules_and_writes_a_cluster_file(installed, tmp_path):
    command = str(installed / "bin/grid-offloader")
    checked = run(installed, command, "rules", "check")
    assert checked.returncode == 0, checked.stderr
    file = tmp_path / "cluster.yaml"
    assert run(installed, command, "config", "init", "--head", "login1", str(file)).returncode == 0
    assert run(installed, command, "config", "check", str(file)).returncode == 0


def test_the_installed_exporter_starts(installed):
    done = run(installed, str(installed / "bin/grid-exporter"), "--version")
    assert (done.returncode, done.stderr) == (0, "")
