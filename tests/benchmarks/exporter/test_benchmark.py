"""The benchmark itself, tiny: what it writes, what it refuses, that nothing of it stays. Never how fast anything is."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import psutil
import pytest

from benchmarks.exporter import report
from benchmarks.exporter.__main__ import main
from benchmarks.exporter.contenders import UNPACKED
from benchmarks.machine import PROJECT

SCHEMA = json.loads((Path(report.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
OPTIONS = ("--processes", "20", "--pause", "0.05", "--warm-up", "1")
# Whoever is started in the background of a script ignores SIGINT (man 1 bash): not so the benchmark here.
COMMAND = ["env", "--default-signal=INT", sys.executable, "-m", "benchmarks.exporter", *OPTIONS]


@pytest.fixture
def exporters():
    """What ours is measured against."""
    for name in ("prometheus-node-exporter", "prometheus-process-exporter"):
        if not (UNPACKED / name).exists():
            pytest.skip(f"needs {name}: run deploy/setup")


@pytest.fixture
def benchmark(tmp_path, exporters):
    """Starts it in the background; whatever of it is left is ended."""
    started = []

    def start(*options):
        process = subprocess.Popen(
            [*COMMAND, *options], cwd=PROJECT, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append((process, family := []))
        return process, family

    yield start
    for process, family in started:
        process.kill()
        process.communicate()
        for each in family:
            if each.is_running():
                each.kill()


@pytest.mark.slow
def test_a_tiny_run_has_every_scenario_in_its_document(benchmark, tmp_path):
    """Three loads of 20 processes, two scrapes each, as the schema says; then nothing is left of them."""
    out = tmp_path / "out.json"
    process, _ = benchmark("--scrapes", "2", "--json", str(out))
    table, progress = process.communicate(timeout=100)
    document = json.loads(out.read_text(encoding="utf-8"))
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert (document["not_run"], process.returncode) == ([], 1 if document["missed"] else 0), progress
    assert document["finished"] is not None
    assert document["settings"] == {"scrapes": 2, "warm_up": 1, "pause_s": 0.05}
    assert [run["load"]["scenario"] for run in document["measurements"]] == ["plain", "forks", "threads"]
    for run in document["measurements"]:
        assert set(run["exporters"]) == {"grid_exporter", "node_exporter", "process_exporter"}
        for exporter in run["exporters"].values():
            assert len(exporter["scrapes"]) == 2
            assert all(scrape["cpu_s"] > 0 for scrape in exporter["scrapes"])
            assert exporter["summary"]["series"] > 10
        assert all(look["processes"] > 30 for look in run["kernel_limit"]["passes"])
    assert table.count("scrapes of each") == 3
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_nothing_outlives_it(benchmark, number, code):
    """The load, its 20 processes and the three exporters are gone, whatever ended the benchmark."""
    process, family = benchmark("--only", "threads", "--scrapes", "10000")
    family += wait_for_family(process, 30 + 5)
    process.send_signal(number)
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert (process.returncode, alive) == (code, [])


def wait_for_family(process, least):
    """Everything that it started, once that is all there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        if len(family := psutil.Process(process.pid).children(recursive=True)) >= least:
            return family
        time.sleep(0.05)
    raise AssertionError(f"{family} is not all that was to be started")


@pytest.mark.slow
def test_a_load_that_loses_a_process_is_no_measurement(benchmark):
    """Half a load would flatter every exporter: it is told of, and exit status is 2."""
    process, family = benchmark("--only", "plain", "--scrapes", "10000")
    family += wait_for_family(process, 30 + 5)
    next(each for each in family if each.name() == "gridload-07").kill()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "plain, 20 processes: the load ended (exit code 1): load: a process of the load ended by itself" in told


@pytest.fixture
def handlers():
    """What the command sets in this process is set back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_missing_opponent_is_named(tmp_path, capsys, handlers):
    """Exit status 2, and what to do."""
    (tmp_path / "prometheus-node-exporter").touch()
    assert main(["--exporters", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"prometheus-process-exporter not found in {tmp_path}: run deploy/setup" in told
    assert "prometheus-node-exporter" not in told


def test_missing_tools_are_named(monkeypatch, capsys, handlers, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == 2
    assert "gcc and setpriv not found: run deploy/setup" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "everything"], "everything"),
        (["--processes", "0"], "at least 1"),
        (["--scrapes", "many"], "whole number"),
        (["--pause", "-1"], "time in seconds"),
        (["--pause", "nan"], "time in seconds"),
    ],
)
def test_bad_options(capsys, options, message):
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_before_anything_starts(capsys, handlers, exporters):
    assert main(["--quick", "--json", "/nowhere/out.json"]) == 2
    assert "cannot write /nowhere/out.json" in capsys.readouterr().err
