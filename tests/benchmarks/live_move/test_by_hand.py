"""The steps by hand, as a shell takes them: with programs that only say what they were asked for."""

import subprocess

import pytest

from benchmarks.live_move.by_hand import Hands
from benchmarks.live_move.ways import BY_HAND, Way

PROGRAMS = {
    "ssh": 'while [ "$1" != gpu1 ]; do [ "$1" = -O ] && exit 0; shift; done; shift; eval "$*"',
    "criu": 'echo "criu $*" >>"$SAID"; [ "$1" = "${FAILS:-}" ] && exit 1; exit 0',
    "tar": 'case "$*" in *-cf*) echo image;; *) cat >/dev/null;; esac; echo "tar $*" >>"$SAID"',
    "rsync": 'echo "rsync $*" >>"$SAID"',
}


@pytest.fixture
def hands(tmp_path):
    """Runs scripts with those programs; returns what they were asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    hands = Hands(str(programs / "criu"), str(tmp_path / "images"), "gpu1", "10.0.0.2")
    said = tmp_path / "said"

    def run(script, fails=""):
        said.unlink(missing_ok=True)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "SAID": str(said), "FAILS": fails}
        command = ["bash", "-o", "pipefail", "-eu", "-c", script]
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
        )
        lines = said.read_text().splitlines() if said.exists() else []
        return done.returncode, [line.replace(str(tmp_path), "") for line in lines], done.stderr

    return hands, run


@pytest.fixture
def original():
    """What is killed at the end."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("way", BY_HAND)
def test_the_program_is_dumped_carried_restored_and_ended_in_that_order(hands, original, way):
    hands, run = hands
    assert run(hands.prepare(way))[0] == 0
    code, said, errors = run(hands.steps(way, original.pid))
    assert code == 0, errors
    dump, *carried, restore = said
    assert dump.startswith(f"criu dump --tree {original.pid} ")
    assert "--leave-stopped" in dump
    assert restore.startswith("criu restore ")
    assert [line.split()[0] for line in carried] == (["rsync"] if way is Way.RSYNC else ["tar", "tar"])
    assert ("--page-server" in dump) is (way is Way.PAGE_SERVER)
    assert original.wait(10) == -9


def test_a_page_server_waits_before_the_program_stops(hands):
    hands, run = hands
    _, said, _ = run(hands.prepare(Way.PAGE_SERVER))
    assert [line.split()[:2] for line in said] == [["criu", "page-server"]]
    assert "--address 10.0.0.2 --port 9876 --daemon" in said[0]
    for way in (Way.TAR, Way.RSYNC):
        assert run(hands.prepare(way))[1] == []


@pytest.mark.parametrize("fails", ["dump", "restore"])
@pytest.mark.parametrize("way", BY_HAND)
def test_what_fails_costs_the_original_nothing_and_is_told(hands, original, way, fails):
    hands, run = hands
    assert run(hands.prepare(way))[0] == 0
    assert run(hands.steps(way, original.pid), fails)[0] != 0
    assert original.poll() is None


def test_nothing_is_left(hands, tmp_path):
    """Also of a page server that nobody came to, and twice is well."""
    hands, run = hands
    assert run(hands.prepare(Way.PAGE_SERVER))[0] == 0
    waiting = subprocess.Popen(["sleep", "60"])
    (tmp_path / "images/server.pid").write_text(f"{waiting.pid}\n")
    for _ in range(2):
        code, _, errors = run(hands.tidy())
        assert code == 0, errors
    assert waiting.wait(10) == -15
    assert not (tmp_path / "images").exists()
