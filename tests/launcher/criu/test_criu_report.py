"""The verb `criu`: whether a node can take part in a live move, found out by doing it."""

import os
import subprocess
from pathlib import Path

import pytest

from offloader.launcher.criu import report

PYTHON = "/usr/bin/python3"
CRIU = Path(__file__).resolve().parents[3] / ".cache/criu/criu"


def fake(folder: Path, text: str) -> Path:
    path = folder / "criu"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.slow
@pytest.mark.criu
def test_a_usable_one_has_moved_a_process_on_this_very_kernel(bench):
    """Whatever its version and `criu check` say, that is what counts; the peer compares the rest."""
    found = bench.verb("criu", CRIU)
    assert found["usable"], found
    assert found["path"] == str(CRIU)
    assert found["kernel"] == os.uname().release
    assert found["version"].split(".")[0].isdigit()
    assert found["round_trip_s"] > 0
    assert set(found["features"]) == {"pre_dump", "lazy_pages"}
    assert found["cpu_flags"]


@pytest.mark.slow
@pytest.mark.criu
def test_one_that_hangs_is_given_up_with_everything_that_it_started(bench, monkeypatch, tmp_path):
    """A criu that waits for ever (too old for the kernel, a lock) must not hang the node's check."""
    mark = tmp_path / "pids"
    hanging = fake(tmp_path, f'[ "$1" = --version ] && exec echo Version: 4.2\nsleep 1000 & echo $! $$ >{mark}; wait')
    monkeypatch.setattr(report, "round_trip", lambda path: real(path, limit_s=1.0))
    found = report.report(str(hanging))
    assert not found["usable"]
    assert found["obstacle"]["reason"] == "NO_CRIU"
    assert "in time" in found["obstacle"]["seen"]
    assert all(not Path(f"/proc/{pid}").exists() for pid in mark.read_text().split())


real = report.round_trip


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("exit 0", "does not say its version"),
        ("echo Version: 3.17; [ $1 = --version ] || exit 1", "does not work here"),
    ],
)
@pytest.mark.root
def test_one_that_cannot_do_it_is_named_with_a_remedy(tmp_path, text, seen):
    """An old criu on a new kernel fails in the middle of a move: here it fails before."""
    found = report.report(str(fake(tmp_path, text)))
    assert not found["usable"]
    assert seen in found["obstacle"]["seen"]
    assert "4.2" in found["obstacle"]["remedy"]
    assert found["cpu_flags"]


def test_none_at_all_is_an_obstacle_and_no_error(monkeypatch, tmp_path):
    """Nodes without CRIU are normal: everything else works there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("offloader.launcher.criu.program._SYSTEM_FOLDERS", str(tmp_path))
    found = report.report()
    assert found["obstacle"]["reason"] == "NO_CRIU"
    assert found["obstacle"]["seen"] == "there is no criu in PATH"


@pytest.mark.root
def test_an_ordinary_account_is_told_that_root_is_missing(bench):
    """Not that criu is broken."""
    done = subprocess.run(
        [PYTHON, "-I", bench.launcher, "criu", str(CRIU)],
        check=True,
        capture_output=True,
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
    )
    assert b"needs root" in done.stdout or not CRIU.exists()
    assert b'"usable":false' in done.stdout
