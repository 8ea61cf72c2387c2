"""deploy/criu in a copy of the tree: what it takes, what it refuses, how it fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.criu]

PROJECT = Path(__file__).resolve().parents[2]
CRIU = PROJECT / ".cache/criu/criu"


class Copy:
    """As much of the tree as the script needs, with programs of the test's own first in PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        (root / "tree/deploy").mkdir(parents=True)
        shutil.copy(PROJECT / "deploy/criu", root / "tree/deploy/criu")
        shutil.copytree(PROJECT / "offloader/launcher", root / "tree/offloader/launcher")
        shutil.copy(PROJECT / "offloader/__init__.py", root / "tree/offloader/__init__.py")

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        path = f"{self.bin}:{os.environ['PATH']}"
        command = [self.root / "tree/deploy/criu", *arguments]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=100, env={"PATH": path}, cwd="/"
        )

    def cached(self, name: str) -> Path:
        return self.root / "tree/.cache" / name


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def test_a_working_one_in_path_is_taken_and_nothing_is_fetched(copy):
    """It is not tried again until the kernel or the script changes."""
    copy.program("criu", f'exec {CRIU} "$@"')
    copy.program("apt-get", f"touch {copy.root}/asked; exit 1")
    done = copy.run()
    assert done.returncode == 0, done.stderr
    assert copy.cached("criu/criu").readlink() == copy.bin / "criu"
    assert not (copy.root / "asked").exists()
    assert copy.run().stderr == ""


def test_one_that_does_not_work_is_named_with_its_fault_and_a_failed_search_is_not_repeated_at_once(copy):
    """Setup asks with --seldom: a machine without a network must not wait each time."""
    copy.program("criu", "echo Version: 9.9; [ $1 = --version ]")
    copy.program("apt-get", f"echo >>{copy.root}/asked; exit 1")
    done = copy.run()
    assert done.returncode == 1
    assert f"{copy.bin}/criu is of no use here" in done.stderr
    assert "no live moves on this machine, all else works" in done.stderr
    asked = (copy.root / "asked").stat().st_size
    assert copy.run("--seldom").returncode == 1
    assert (copy.root / "asked").stat().st_size == asked
    assert copy.run().returncode == 1
    assert (copy.root / "asked").stat().st_size > asked
    assert not copy.cached("criu").exists()


def test_a_mirror_that_debian_has_not_signed_is_refused(copy):
    """What it offers is never unpacked, let alone run."""
    mirror = copy.root / "mirror"
    for suite in ("testing", "unstable"):
        packages = mirror / "dists" / suite / "main/binary-amd64"
        packages.mkdir(parents=True)
        (packages / "Packages").write_text("")
        (mirror / "dists" / suite / "InRelease").write_text("Origin: Debian\nSuite: testing\nComponents: main\n")
    apt = shutil.which("apt-get")
    copy.program("apt-get", f'[ "$1" = indextargets ] && echo Packages Debian file:{mirror} && exit; exec {apt} "$@"')
    done = copy.run()
    assert done.returncode == 1
    assert done.stderr.count("could not be fetched") == 2, done.stderr
    assert not copy.cached("criu").exists()
    assert "is not signed" in copy.cached("criu.log").read_text()
    assert [path for path in copy.cached(".").iterdir() if path.is_dir()] == []
