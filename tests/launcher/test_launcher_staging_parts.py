"""The parts of staging by themselves: frames, what rsync may be told and what it says, manifests, merging."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from offloader.launcher import rsync, tree
from offloader.launcher.errors import LauncherError
from offloader.launcher.frames import FrameBuffer, frame, said
from offloader.launcher.manifest import Entry, changes, dump, entry, read, replacing, same_content, taken
from offloader.launcher.merge import merge

ARGV = ["rsync", "--server", "-lHgtprSe.iLsfxCIvu", "--log-format=%i", "--timeout=60", "--delete", "-@-1", ".", "./"]
BACK = [
    "rsync",
    "--server",
    "-lHgtpRSe.LsfxCIvu",
    "--partial",
    "--compare-dest",
    "..",
    ".",
    "./.grid-offload-results-J.1/",
]
SCRATCH = ".grid-offload-results-J.1/"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The launcher's parts work in the current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_frames_come_out_whole_however_they_arrive():
    sent = said({"a": 1}) + frame(b"D", bytes(range(256)) * 9) + frame(b"E")
    buffer, found = FrameBuffer(), []
    for position in range(len(sent)):
        found += buffer.feed(sent[position : position + 1])
    assert found == [(b"J", b'{"a":1}'), (b"D", bytes(range(256)) * 9), (b"E", b"")]


@pytest.mark.parametrize("noise", [b"Last login: Mon\n", frame(b"X"), b"D\xff\xff\xff\xff"])
def test_what_is_no_frame_is_refused_and_not_waited_for(noise):
    with pytest.raises(LauncherError, match="BAD_MESSAGE"):
        FrameBuffer().feed(noise)


@pytest.mark.parametrize(("argv", "scratch"), [(ARGV, ""), (BACK, SCRATCH)])
def test_a_receiver_with_our_options_may_be_started(argv, scratch):
    assert rsync.checked_server(argv, scratch) == argv


@pytest.mark.parametrize(
    ("argv", "scratch"),
    [
        ([], ""),
        (["sh", "-c", "true"], ""),
        ([*ARGV[:2], "--sender", *ARGV[2:]], ""),
        ([*ARGV[:3], "--sender", *ARGV[3:]], ""),
        ([*ARGV[:3], "--log-file=/etc/cron.d/x", *ARGV[3:]], ""),
        ([*ARGV[:3], "--compare-dest", "/etc", *ARGV[3:]], ""),
        ([*ARGV[:3], "--temp-dir=/tmp", *ARGV[3:]], ""),
        ([*ARGV[:3], "--remove-source-files", *ARGV[3:]], ""),
        ([*ARGV[:-1], "/"], ""),
        ([*ARGV[:-1], "./../"], ""),
        (["rsync", "--server", "-lHogDtpre.iLsfxCIvu", ".", "./"], ""),
        (ARGV, SCRATCH),
        ([*ARGV[:-1], f"./{SCRATCH}"], SCRATCH),
        (BACK, ""),
    ],
)
def test_nothing_else_may_be_started(argv, scratch):
    """Above all: no sender, no devices or owners, no other directory, and results never delete anything."""
    with pytest.raises(LauncherError, match="BAD_MESSAGE"):
        rsync.checked_server(argv, scratch)


def test_names_of_any_bytes_are_read_back_from_what_rsync_lists(here):
    names = [bytes([byte]) for byte in range(1, 256) if byte not in b"/."] + [b"\\#012", b"= -> x", "é".encode()]
    for name in names:
        (here / os.fsdecode(name)).write_text("1")
    (here / "link -> here").symlink_to("x -> y")
    os.mkfifo("pipe")
    (here / "folder").mkdir()
    seen = tree.look(["- .grid-offload-*"])
    assert {item.path for item in seen.items} == {*names, b"link -> here", b"folder", b"."}
    assert {item.path: item.kind for item in seen.items}[b"link -> here"] == "link"
    assert seen.skipped == (b"pipe",)
    assert sum(item.size for item in seen.items if item.kind == "file") == len(names)


def test_a_listing_is_stopped_as_soon_as_enough_was_seen(here):
    for number in range(2000):
        (here / str(number)).write_text("")
    seen: list[rsync.Item] = []
    found = tree.look((), lambda item: seen.append(item) or len(seen) == 10)
    assert (len(found.items), found.complete) == (10, False)


@pytest.mark.parametrize(
    ("link", "target", "out"),
    [
        (b"a", b"b", False),
        (b"d/a", b"../b", False),
        (b"a", b"../job", False),
        (b"a", b"/home/x/job/b", False),
        (b"a", b"../b", True),
        (b"d/a", b"../../b", True),
        (b"a", b"/home/x/jobs", True),
    ],
)
def test_links_out_of_the_tree_are_told_from_those_within(link, target, out):
    assert tree.leads_out(b"/home/x/job", link, target) is out


def test_a_full_disk_is_said_to_be_one_however_rsync_came_to_its_end():
    """Where its other end dies of that it is ended before it has a status of its own to tell by."""
    words = b'rsync: [receiver] write failed on "/w/grown": No space left on device (28)\nrsync error: x (code 11)\n'
    assert all("is its disk full" in rsync.what_failed(status, words) for status in (11, -9, -15))
    assert "disk full" not in rsync.what_failed(-9, b"rsync: read error: Connection reset by peer (104)\n")


def test_rsync_that_is_missing_or_too_old_is_refused(monkeypatch, tmp_path):
    monkeypatch.setitem(rsync.ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(LauncherError, match="not installed"):
        rsync.installed()
    program = tmp_path / "rsync"
    for text, outcome in [("rsync  version 3.1.2  protocol", "too old"), ("openrsync: protocol 29", "version")]:
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o755)
        with pytest.raises(LauncherError, match=outcome):
            rsync.installed()
    program.write_text("#!/bin/sh\necho 'rsync  version v3.4.1  protocol version 32'\n")
    assert rsync.installed() == "3.4.1"


def test_a_manifest_tells_what_was_changed_made_and_removed(here):
    for name in ("same", "grown", "touched", "mode", "gone", "folder"):
        (here / name).mkdir() if name == "folder" else (here / name).write_text("1")
    paths = [path.name.encode() for path in here.iterdir()]
    with replacing(here / ".kept") as descriptor:
        dump(descriptor, taken(paths))
    before = read(here / ".kept")
    assert before == taken(paths)
    (here / "grown").write_text("12")
    os.utime("touched", ns=(1, 1))
    (here / "mode").chmod(0o700)
    (here / "gone").unlink()
    (here / "folder/inside").write_text("new")
    now = taken([*paths, b"folder/inside"])
    assert changes(before, now) == ((b"folder/inside", b"grown", b"mode", b"touched"), (b"gone",))
    assert read(here / "never") is None


def test_whole_seconds_decide_where_a_file_system_keeps_no_more():
    fine, coarse = Entry("file", 5, 7_000_000_123, 0o644, 1), Entry("file", 5, 7_000_000_000, 0o600, 2)
    assert same_content(fine, coarse)
    assert not same_content(fine, fine._replace(mtime_ns=7_000_000_124))
    assert not same_content(fine, coarse._replace(mtime_ns=8_000_000_000))
    assert not same_content(fine, fine._replace(size=6))


def test_newcomers_in_conflict_never_take_a_name_that_somebody_has(here):
    """Not even where an earlier conflict, or a person, has the name beside; long names are cut to fit."""
    long = "n" * 255
    for name in ("a", "a.from-gpu1-1", long):
        (here / name).write_text("here")
    scratch = here / "scratch"
    scratch.mkdir()
    for name in ("a", long):
        (scratch / name).write_text("there, and longer")
    told = merge(b"scratch", {}, b".from-gpu1-1")
    assert told["conflicts"] == 2
    assert (here / "a.from-gpu1-1").read_text() == "here"
    assert (here / "a.from-gpu1-1.2").read_text() == "there, and longer"
    assert (here / ("n" * 243 + ".from-gpu1-1")).read_text() == "there, and longer"
    assert not scratch.exists()


def test_a_whole_directory_stands_beside_the_file_that_took_its_name(here):
    (here / "name").write_text("a file by now")
    (here / "scratch/name/deep").mkdir(parents=True)
    (here / "scratch/name/deep/file").write_text("result")
    assert merge(b"scratch", {b"name": entry(b"scratch/name")}, b".from-gpu1-1")["conflicts"] == 1
    assert (here / "name.from-gpu1-1/deep/file").read_text() == "result"


def test_a_closed_directory_is_filled_and_closed_again(here):
    (here / "scratch/closed").mkdir(parents=True)
    (here / "scratch/closed/file").write_text("result")
    (here / "scratch/closed").chmod(0o500)
    assert merge(b"scratch", {}, b".x")["landed"] == 2
    assert (here / "closed").stat().st_mode & 0o777 == 0o500
    (here / "closed").chmod(0o700)


@pytest.mark.root
def test_results_land_on_a_file_system_that_is_mounted_in_the_tree():
    """rename(2) cannot do that: it is copied there, and has its name only when it is whole."""
    script = """
import os, sys
from offloader.launcher.manifest import entry
from offloader.launcher.merge import merge
os.makedirs("scratch/mounted/deep")
for name in ("new", "old", "deep/x"):
    open(f"scratch/mounted/{name}", "w").write("result")
open("mounted/old", "w").write("before")
told = merge(b"scratch", {b"mounted/old": entry(b"mounted/old")}, b".x")
print(told["landed"], sorted(os.listdir("mounted")), open("mounted/old").read(), os.path.exists("scratch"))
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "mounted").mkdir()
        mount = f'mount -t tmpfs none {folder}/mounted; cd {folder}; exec "$@"'
        command = ["unshare", "--mount", "sh", "-ec", mount, "sh", sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "4 ['deep', 'new', 'old'] result False\n", done.stderr
