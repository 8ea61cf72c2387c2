"""The benchmark itself: what it refuses; with everything there one tiny run. Never how fast anything is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from _testbed.settings import Settings

from benchmarks.live_move import cluster, report
from benchmarks.live_move.__main__ import main
from benchmarks.machine import PROJECT

SCHEMA = json.loads((Path(report.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What the command sets in this process is set back."""
    for name in ("GRID_TESTBED_NAME", "GRID_TESTBED_SUBNET"):
        monkeypatch.setenv(name, "")  # so that its own are forgotten afterwards
        monkeypatch.delenv(name)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    mask = os.umask(0o022)
    yield
    os.umask(mask)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_missing_criu_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "CRIU", tmp_path / "criu")
    assert main([]) == 2
    assert f"{tmp_path}/criu not found: run deploy/setup" in capsys.readouterr().err


def test_a_machine_that_holds_no_test_bed_says_why(tmp_path, monkeypatch, capsys):
    (tmp_path / "criu").touch()
    monkeypatch.setattr(cluster, "CRIU", tmp_path / "criu")
    monkeypatch.setattr(cluster, "load", lambda: Settings(name="gtlmt", directory=str(tmp_path / "bed")))
    monkeypatch.setattr(cluster.bed, "missing", lambda _: ["root: run it with sudo"])
    assert main([]) == 2
    assert "cannot hold a test bed: root: run it with sudo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mebibytes", "0"], "at least 1"),
        (["--rounds", "many"], "whole number"),
        (["--rest", "-1"], "time in seconds"),
    ],
)
def test_bad_options(capsys, options, message):
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_before_anything_starts(capsys):
    assert main(["--quick", "--json", "/nowhere/out.json"]) == 2
    assert "cannot write /nowhere/out.json" in capsys.readouterr().err


@pytest.mark.testbed
@pytest.mark.ray
@pytest.mark.criu
@pytest.mark.timeout(300)
def test_a_tiny_run_goes_every_way_and_leaves_nothing(tmp_path):
    name, subnet = "gtlmt", "10.98.0.0/24"
    environment = {**os.environ, "GRID_TESTBED_NAME": name, "GRID_TESTBED_SUBNET": subnet}
    command = [sys.executable, "-m", "benchmarks.live_move", "--quick", "--mebibytes", "4", "--json"]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert (document["not_run"], done.returncode) == ([], 1 if document["missed"] else 0), done.stderr
    (run,) = document["measurements"]
    assert all(len(way["stops"]) == 1 for way in run["ways"].values())
    assert "4 MiB, stopped 1 times in each way" in done.stderr
    assert not Path(f"/var/lib/grid-testbed-{name}").exists()
