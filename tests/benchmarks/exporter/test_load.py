"""The load is what it is said to be."""

import time
from collections import Counter

import psutil
import pytest

from benchmarks.errors import CannotRunError
from benchmarks.exporter.load import SIGNIFICANT_BYTES, Load, Scenario, running
from benchmarks.exporter.programs import compiled
from benchmarks.exporter.scrape import cpu_ns

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled("load", tmp_path_factory.mktemp("program"))


def family():
    """Of this process: the supervisor, and the processes of the load."""
    (supervisor,) = [child for child in psutil.Process().children() if child.name() == "load"]
    return supervisor, supervisor.children()


def test_names_memory_and_threads(program, tmp_path):
    """80 in 40 names, two of them with memory, ten busy ones, 16 threads each; all gone afterwards."""
    with running(Load(Scenario.THREADS, 80), program, tmp_path) as load:
        load.check()
        supervisor, processes = family()
        names = Counter(process.name() for process in processes)
        assert names == {f"gridload-{i:02d}": 2 for i in range(40)} | {"gridload-busy": 10}
        assert {process.num_threads() for process in processes} == {16}
        large = [process.name() for process in processes if process.memory_info().rss >= SIGNIFICANT_BYTES]
        assert large == ["gridload-00"] * 2
    assert not any(process.is_running() for process in (supervisor, *processes))


def test_busy_ones_use_cpu_and_sleeping_ones_none(program, tmp_path):
    """From some moment on it is just those ten whose clocks move."""
    with running(Load(Scenario.PLAIN, 3), program, tmp_path):
        _, processes = family()
        busy = {process.pid for process in processes if process.name() == "gridload-busy"}
        moved, deadline = set(), time.monotonic() + 30
        while moved != busy and time.monotonic() < deadline:
            before = {process.pid: cpu_ns(process.pid) for process in processes}
            time.sleep(0.3)
            moved = {pid for pid, clock in before.items() if cpu_ns(pid) != clock}
        assert moved == busy


def test_forks_go_on(program, tmp_path):
    """One after the other, each short-lived."""
    with running(Load(Scenario.FORKS, 1), program, tmp_path):
        _, processes = family()
        (forker,) = [process for process in processes if process.name() == "gridload-fork"]
        seen = set()
        deadline = time.monotonic() + 20
        while len(seen) < 30 and time.monotonic() < deadline:
            seen |= {child.pid for child in forker.children()}
        assert len(seen) >= 30
    assert not any(map(psutil.pid_exists, seen))


def test_what_keeps_it_from_starting_is_told(tmp_path):
    program = tmp_path / "load"
    program.write_text("#!/bin/sh\necho no room for it >&2\nexit 1\n", encoding="ascii")
    program.chmod(0o755)
    with pytest.raises(CannotRunError, match="no room for it"), running(Load(Scenario.PLAIN, 1), program, tmp_path):
        pass


def test_a_source_that_cannot_be_compiled_is_told(tmp_path):
    with pytest.raises(CannotRunError, match=r"no_such\.c"):
        compiled("no_such", tmp_path)
    assert list(tmp_path.iterdir()) == []
