"""Preflight on the target: every obstacle by its code, seen with the owner's eyes."""

import os
import pty
import shutil
import socket
import subprocess
from pathlib import Path

import pytest


def _codes(answer: dict) -> list[str]:
    return [one["reason"] for one in answer["obstacles"]]


def test_a_node_that_has_everything_has_no_obstacle(bench):
    """The same node: program, directory, script and output file are there."""
    script = bench.root / "job.py"
    script.write_text("import time\ntime.sleep(1000)\n")
    with (bench.root / "out").open("w") as out:
        process = bench.start(["/usr/bin/python3", "job.py", "--verbose"], stdout=out)
    streams = {"0": "null", "1": "file", "2": "null"}
    found = bench.check(bench.capsule(process.pid))
    assert (found["obstacles"], found["notes"], found["streams"]) == ([], [], streams)


def test_a_missing_or_different_program_is_found(bench):
    """NO_EXECUTABLE: gone, not executable, or another build."""
    program = bench.root / "program"
    shutil.copy("/bin/sleep", program)
    capsule = bench.capsule(bench.start([program, "1000"]).pid)
    program.unlink()
    assert _codes(bench.check(capsule)) == ["NO_EXECUTABLE"]
    shutil.copy("/bin/cat", program)
    answer = bench.check(capsule)
    assert _codes(answer) == ["NO_EXECUTABLE"]
    assert "another build" in answer["obstacles"][0]["seen"]
    shutil.copy("/bin/sleep", program)
    assert _codes(bench.check(capsule)) == []
    program.chmod(0o644)
    assert _codes(bench.check(capsule)) == ["NO_EXECUTABLE"]


def test_a_missing_or_different_script_is_found(bench):
    """NO_FILE: the interpreter alone is not the program. A data file only has to exist."""
    script, data = bench.root / "job.py", bench.root / "data.bin"
    script.write_text("import time\ntime.sleep(1000)\n")
    data.write_bytes(b"123")
    process = bench.start(["/usr/bin/python3", "job.py", "data.bin", "not-a-file"])
    capsule = bench.capsule(process.pid)
    data.write_bytes(b"it grew meanwhile")
    assert _codes(bench.check(capsule)) == []
    script.write_text("import time\ntime.sleep(1001)\n")
    assert _codes(bench.check(capsule)) == ["NO_FILE"]
    script.unlink()
    data.unlink()
    assert _codes(bench.check(capsule)) == ["NO_FILE", "NO_FILE"]


def test_a_missing_working_directory_is_found(bench):
    """NO_DIRECTORY."""
    cwd = bench.root / "work"
    cwd.mkdir()
    capsule = bench.capsule(bench.sleeper(cwd=cwd).pid)
    cwd.rmdir()
    assert _codes(bench.check(capsule)) == ["NO_DIRECTORY"]


def test_an_output_file_must_be_the_same_file_unless_it_may_be_redirected(bench):
    """NO_FILE when the directory is not shared; `redirect_output` sends it to output.log instead."""
    out = bench.root / "out"
    with out.open("w") as stream:
        process = bench.sleeper(stdout=stream)
    capsule = bench.capsule(process.pid)
    assert _codes(bench.check(capsule)) == []
    out.rename(bench.root / "elsewhere")
    out.write_text("a file of that name, but another one")
    assert _codes(bench.check(capsule)) == ["NO_FILE"]
    redirected = {**capsule, "epoch": 2, "redirect_output": True}
    *_, attempt, pid = bench.owned(redirected)
    assert Path(f"/proc/{pid}/fd/1").readlink() == attempt / "output.log"


def test_streams_that_cannot_be_offered_again_are_found(bench):
    """Input from a living pipe or a socket; a terminal as input becomes /dev/null, with a note."""
    process = bench.sleeper(stdin=subprocess.PIPE)
    assert _codes(bench.check(bench.capsule(process.pid))) == ["UNSUPPORTED_FD"]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = bench.sleeper(stdin=theirs)
        assert _codes(bench.check(bench.capsule(process.pid, epoch=2))) == ["UNSUPPORTED_FD"]
    master, slave = pty.openpty()
    process = bench.sleeper(stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    answer = bench.check(bench.capsule(process.pid, epoch=3))
    os.close(master)
    assert answer["obstacles"] == []
    assert "terminal" in answer["notes"][0]


@pytest.mark.root
def test_name_and_uid_must_agree(bench):
    """IDENTITY_MISMATCH: the uid is somebody else's here, or nobody's; likewise a group the user is not in."""
    capsule = bench.capsule(bench.sleeper(user=65534, group=65534, extra_groups=[]).pid)
    for epoch, change in enumerate(({"user": "alice"}, {"uid": 54321}, {"gid": 0}), start=1):
        wrong = {**capsule, "epoch": epoch, "process": {**capsule["process"], **change}}
        assert _codes(bench.check(wrong)) == ["IDENTITY_MISMATCH"], change
    account = {"user": 65534, "group": 65534, "extra_groups": []}
    root = bench.capsule(bench.sleeper().pid)
    assert _codes(bench.check(root, **account)) == ["IDENTITY_MISMATCH"]


@pytest.mark.root
def test_roots_launcher_looks_with_the_owners_eyes(bench):
    """A directory that only root may enter is not there for its owner."""
    cwd = bench.root / "work"
    cwd.mkdir()
    cwd.chmod(0o755)
    process = bench.sleeper(user=65534, group=65534, extra_groups=[], cwd=cwd)
    capsule = bench.capsule(process.pid)
    assert _codes(bench.check(capsule)) == []
    cwd.chmod(0o700)
    assert _codes(bench.check(capsule)) == ["NO_DIRECTORY"]


@pytest.mark.root
def test_an_output_that_its_owner_may_not_open_is_found(bench):
    """Opened by root before it became the user (sudo, a daemon): it could not be opened again."""
    with (bench.root / "out").open("w") as stream:
        process = bench.sleeper(stdout=stream, user=65534, group=65534, extra_groups=[])
    (bench.root / "out").chmod(0o644)
    assert _codes(bench.check(bench.capsule(process.pid))) == ["NO_FILE"]


def test_what_execve_would_refuse_is_found_before(bench):
    """TOO_LARGE: one string over 128 KiB."""
    capsule = bench.capsule(bench.sleeper().pid)
    capsule["process"]["argv"].append("eHh4" * 50_000)
    assert _codes(bench.check(capsule)) == ["TOO_LARGE"]


@pytest.mark.parametrize("document", [{}, {"capsule": []}, {"capsule": {"version": 2}}])
def test_what_is_no_capsule_is_refused_by_field(bench, document):
    assert bench.verb("check", stdin=document)["error"] == "BAD_CAPSULE"


@pytest.mark.parametrize("survey", [{}, [], {"files": [{}]}, "x"])
def test_what_is_no_survey_is_refused(bench, survey):
    assert bench.check(bench.capsule(bench.sleeper().pid), survey=survey)["error"] == "BAD_CAPSULE"


def test_a_file_of_the_same_numbers_on_a_disk_that_is_not_proven_shared_is_another_file(bench):
    """Cloned disks use the same device and inode numbers: only a token proves that they are one."""
    with (bench.root / "out").open("w") as stream:
        capsule = bench.capsule(bench.sleeper(stdout=stream).pid)
    assert _codes(bench.check({**capsule, "shared": []})) == ["NO_FILE"]


def test_room_is_asked_for(bench):
    """NO_ROOM: more memory than any machine has."""
    capsule = bench.capsule(bench.sleeper().pid)
    assert _codes(bench.check(capsule, memory_bytes=1 << 20)) == []
    assert _codes(bench.check(capsule, memory_bytes=1 << 60)) == ["NO_ROOM"]


@pytest.mark.root
def test_a_full_disk_below_its_directory_is_found(bench):
    cwd = bench.root / "full"
    cwd.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", cwd], check=True)
    try:
        process = bench.sleeper(cwd=cwd)
        assert _codes(bench.check(bench.capsule(process.pid))) == ["NO_ROOM"]
        process.kill()
        process.wait()
    finally:
        subprocess.run(["umount", "--lazy", cwd], check=True)


def test_checking_leaves_nothing_behind(bench):
    capsule = bench.capsule(bench.sleeper().pid)
    before = sorted(bench.root.rglob("*"))
    bench.check(capsule)
    assert sorted(bench.root.rglob("*")) == before
