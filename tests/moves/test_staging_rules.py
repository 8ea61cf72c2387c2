"""Which patterns are accepted, and that rsync leaves out by them what git would ignore."""

import os
import subprocess

import pytest

from offloader.launcher.tree import look
from offloader.model import bad_pattern
from offloader.moves.staging_rules import filters

TREE = (
    "a.log",
    "keep.log",
    "sub/a.log",
    "build/x",
    "sub/build/x",
    "docs/api/x",
    "sub/docs/api/x",
    "core",
    "sub/core.c",
)


@pytest.mark.parametrize(
    "patterns",
    [
        (),
        ("*.log",),
        ("*.log", "!keep.log"),
        ("!keep.log", "*.log"),
        ("build/",),
        ("/build",),
        ("docs/api",),
        ("**/docs/api",),
        ("**/build/",),
        ("core",),
        ("sub/*", "!sub/core.c"),
        ("[ab].log", "?ore"),
    ],
)
def test_patterns_mean_what_they_mean_to_git(tmp_path, monkeypatch, patterns):
    monkeypatch.chdir(tmp_path)
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    subprocess.run(["git", "init", "-q", "."], check=True)
    (tmp_path / ".git/info/exclude").write_text("\n".join(patterns))
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    sent = {item.path.decode() for item in look(filters((*patterns, "/.git/"))).items if item.kind == "file"}
    assert sent == set(listed.stdout.split())


@pytest.mark.parametrize("pattern", ["", "/", "!", "!/", " x", "x ", "a\nb", "a\\*", "a\tb"])
def test_patterns_that_rsync_would_take_otherwise_are_refused(pattern):
    assert bad_pattern(pattern) is not None


@pytest.mark.parametrize("pattern", ["__pycache__/", "!x", ".nfs*", "/data", "a b", "**/x", "#notes"])
def test_patterns_that_mean_something_are_accepted(pattern):
    assert bad_pattern(pattern) is None
