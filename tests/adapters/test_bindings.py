"""ProcessSource on real processes that are bound to this node: by locks, credentials, licences."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PYTHON = "/usr/bin/python3"

FLOCK = "import fcntl, sys\nfile = open(sys.argv[1], 'a')\nfcntl.flock(file, fcntl.LOCK_EX)"
POSIX = "import fcntl, sys\nfile = open(sys.argv[1], 'a')\nfcntl.lockf(file, fcntl.LOCK_EX)"
OFD = """
import fcntl, struct, sys
file = open(sys.argv[1], 'a')
fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
"""
INHERITED = """
import os, subprocess, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
subprocess.run(["flock", "-n", str(descriptor)], pass_fds=[descriptor], check=True)
"""


@pytest.mark.parametrize("program", [FLOCK, POSIX, OFD, INHERITED], ids=["flock", "posix", "ofd", "inherited"])
def test_a_lock_is_seen_whoever_took_it(farm, source, tmp_path, program):
    """As `( flock -n 9; work ) 9>file` takes it: the process that /proc/locks names ended long ago."""
    path = tmp_path / "run.lock"
    pid = farm.python(program, str(path))
    bystander = farm.python("import sys\nfile = open(sys.argv[1], 'a')", str(path))
    found = source.read(detail=True)
    assert found[pid].locked == {str(path)}
    assert found[bystander].locked == set()


@pytest.mark.parametrize("program", [FLOCK, POSIX], ids=["flock", "posix"])
def test_who_waits_for_a_lock_is_seen_too(farm, source, tmp_path, program):
    path = tmp_path / "run.lock"
    farm.python(program, str(path))
    waiter = subprocess.Popen([PYTHON, "-c", program, str(path)])
    try:
        deadline = time.monotonic() + 20
        while source.read(detail=True)[waiter.pid].locked != {str(path)}:
            assert time.monotonic() < deadline
    finally:
        waiter.kill()
        waiter.wait()


def test_a_lock_on_a_file_that_nobody_else_can_open_binds_nobody(farm, source, tmp_path):
    path = tmp_path / "run.lock"
    pid = farm.python(FLOCK, str(path))
    path.unlink()
    assert source.read(detail=True)[pid].locked == set()


@pytest.mark.parametrize("kind", ["", "FILE:"])
def test_a_ticket_file_that_exists_is_a_credential_one_that_is_gone_is_none(farm, source, tmp_path, kind):
    tickets = tmp_path / "krb5cc_test"
    tickets.write_bytes(b"\x05\x04")
    pid = farm.python("", env={"KRB5CCNAME": f"{kind}{tickets}"})
    one = source.read(detail=True)[pid]
    assert one.credentials == ("Kerberos tickets",)
    assert str(tickets) not in repr(one)
    tickets.unlink()
    assert source.read(detail=True)[pid].credentials == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("KEYRING:persistent:0", ("Kerberos tickets",)),
        ("KCM:", ("Kerberos tickets",)),
        ("MEMORY:own", ()),
        ("DIR:/nowhere/tickets", ()),
    ],
)
def test_tickets_that_are_no_file_count_unless_the_program_gets_its_own(farm, source, name, words):
    pid = farm.python("", env={"KRB5CCNAME": name})
    assert source.read(detail=True)[pid].credentials == words


@pytest.mark.root
def test_an_afs_authentication_group_is_a_credential(farm, source):
    pid = farm.start(
        "setpriv", f"--groups={0x41000001}", PYTHON, "-c", "import sys; print('ready', flush=True); sys.stdin.read()"
    )
    assert source.read(detail=True)[pid].credentials == ("AFS tokens",)


WITH_KEY = """
import ctypes, os, platform, sys
sys.path.insert(0, sys.argv[1])
number = {"x86_64": 248, "aarch64": 217}[platform.machine()]
process_keyring = -2
assert ctypes.CDLL(None, use_errno=True).syscall(number, b"user", b"krb_ccache:primary", b"x", 1, process_keyring) > 0
from offloader.adapters.processes import ProcessSource
print(*ProcessSource().read(detail=True)[os.getpid()].credentials)
"""


@pytest.mark.root
def test_tickets_among_the_kernels_keys_are_a_credential(tmp_path):
    """Seen by their owner: the kernel shows nobody else's keys, not even to root."""
    copy = tmp_path / "copy"
    for package in ("exporter", "offloader"):
        source = Path(__file__).parents[2] / package
        shutil.copytree(source, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (copy, *(one for one in copy.parents if one.is_relative_to("/tmp") and one != Path("/tmp"))):
        folder.chmod(0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", PYTHON, "-B", "-c", WITH_KEY, str(copy)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.stderr, done.stdout) == ("", "Kerberos tickets in the kernel's keys\n")


def test_variables_that_speak_of_licences_are_known_by_name_only(farm, source):
    pid = farm.python("", env={"MLM_LICENSE_FILE": "27000@licences.example.org", "HOME": "/"})
    one = source.read(detail=True)[pid]
    assert one.licence_variables == {"MLM_LICENSE_FILE"}
    assert "licences.example.org" not in repr(one)
