"""Moves that must not be, asked for on the command line: each refused with its reason and documented exit code.

A node of the test bed shows no kernel threads (they live in the machine's own pid namespace): that one is refused by
the same program with a real one in tests/daemon/test_daemon_e2e.py.
"""

import json
import re
import shlex
from pathlib import Path

import pytest

pytestmark = [pytest.mark.testbed, pytest.mark.ray]

REFUSED, NOT_PERMITTED, MOVE_FAILED = 4, 5, 7  # docs/cli.md, Exit codes

TAKE_PID = """
import os, sys
wanted, uid, directory, output, *command = sys.argv[1:]
os.chdir(directory)
for _ in range(500):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(int(wanted) - 1))
    child = os.fork()
    if child == 0:
        if os.getpid() != int(wanted):
            os._exit(1)
        os.setsid()
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), 1)
        os.dup2(1, 2)
        os.setgroups([int(uid)])
        os.setgid(int(uid))
        os.setuid(int(uid))
        os.execv(command[0], command)
    if child == int(wanted):
        os._exit(0)
    os.waitpid(child, 0)
sys.exit("the process id could not be taken again")
"""


def pid_of(bed, pattern):
    """The head's first process whose command line matches."""
    for line in bed.exec("gpu-master", ["ps", "-eo", "pid=,args="]).stdout.splitlines():
        pid, _, arguments = line.strip().partition(" ")
        if re.search(pattern, arguments):
            return int(pid)
    raise AssertionError(f"nothing matches {pattern}")


@pytest.mark.timeout(400)
def test_what_must_not_move_is_refused_with_its_reason_and_exit_code(controlled):
    bed = controlled.bed
    controlled.start()
    controlled.ready()
    mine = bed.start_load("gpu-master", "mine", cpu=0.1)
    bobs = bed.start_load("gpu-master", "bobs", user="bob", cpu=0.1)
    cases = [
        ("alice", (str(mine.pid), "-t", "gpu-master"), REFUSED, "TARGET_IS_HEAD"),
        ("alice", (str(mine.pid), "-t", "nowhere"), REFUSED, "TARGET_UNKNOWN"),
        ("alice", ("299999",), REFUSED, "NO_SUCH_PROCESS"),
        ("bob", (str(mine.pid), "-t", "gpu1"), NOT_PERMITTED, "NOT_YOURS"),
        ("alice", (str(bobs.pid), "-t", "gpu1"), NOT_PERMITTED, "NOT_YOURS"),
        ("bob", (str(bobs.pid), "-t", "gpu1"), REFUSED, "OTHER_USER"),  # the cluster works for one account
        ("alice", (str(pid_of(bed, "raylet")),), REFUSED, "PROTECTED"),
        ("alice", (str(pid_of(bed, "grid-offloader serve")),), REFUSED, "PROTECTED"),
        ("alice", (str(pid_of(bed, "^[^ ]*prometheus ")),), NOT_PERMITTED, "NOT_YOURS"),
        ("root", (str(pid_of(bed, "^[^ ]*prometheus ")),), REFUSED, "PROTECTED"),
    ]
    for user, words, code, reason in cases:
        done = controlled.cli("move", *words, user=user)
        assert (done.returncode, f"[{reason}]" in done.stderr) == (code, True), (words, user, done.stderr)
        assert done.stdout == ""

    flying = controlled.start_move(mine.pid, "gpu1")
    for words in ([str(mine.pid)], [str(mine.pid), "-t", "gpu2"]):
        again = controlled.cli("move", *words)
        assert (again.returncode, "[ALREADY_MOVING]" in again.stderr) == (REFUSED, True), again.stderr
    cancelled = controlled.cli("cancel", flying, user="bob")
    assert (cancelled.returncode, "[NOT_YOURS]" in cancelled.stderr) == (NOT_PERMITTED, True), cancelled.stderr
    controlled.ok("cancel", flying)

    assert [one["id"] for one in controlled.status()["moves_recent"]] == [flying]  # nothing else ever began
    for load in (mine, bobs):
        controlled.one_copy(load.name, on="gpu-master")
    controlled.nothing_left()


LOCKS = """
import fcntl, os, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
with open(sys.argv[2] + ".new", "w") as ready:
    ready.write(str(os.getpid()))
os.rename(sys.argv[2] + ".new", sys.argv[2])
time.sleep(600)
"""


def detached(bed, name, *argv):
    """The pid of a job of alice's on the head; its last argument names the file that it writes its pid to."""
    ready = bed.shared / f"{name}.pid"
    ready.unlink(missing_ok=True)
    shell = f"exec setsid --fork {shlex.join([*argv, str(ready)])} </dev/null >/dev/null 2>&1"
    bed.exec("gpu-master", ["bash", "-c", shell], user="alice", cwd=str(bed.shared))
    bed.wait_for(ready.exists, 20, f"{name} to run")
    return int(ready.read_text(encoding="ascii"))


@pytest.mark.timeout(400)
def test_a_dry_run_finds_what_only_the_target_can_tell_and_touches_nothing(controlled):
    """A lock on a file that both nodes see, a program on the head's own disk: all at once, before anything begins."""
    bed = controlled.bed
    controlled.start()
    controlled.ready()
    private = bed.private("gpu-master") / "program"
    private.write_bytes(Path("/usr/bin/python3").resolve().read_bytes())
    private.chmod(0o755)
    own = str(bed.root / "private/program")
    plain = bed.start_load("gpu-master", "plain", cpu=0.1)
    locker = detached(bed, "locker", "/usr/bin/python3", "-c", LOCKS, str(bed.shared / "run.lock"))
    both = detached(bed, "both", own, "-c", LOCKS, str(bed.shared / "other.lock"))
    try:
        for pid, code, reasons in (
            (plain.pid, 0, set()),
            (locker, REFUSED, {"LOCKED"}),
            (both, REFUSED, {"LOCKED", "NO_EXECUTABLE"}),
        ):
            done = controlled.cli("move", str(pid), "-t", "gpu1", "--dry-run", "--format", "json")
            [plan] = json.loads(done.stdout)
            assert (done.returncode, {one["reason"] for one in plan["obstacles"]}) == (code, reasons), done.stdout
            assert all(one["seen"] and one["remedy"] for one in plan["obstacles"])
        status = controlled.status()
        assert status["moves_in_flight"] == status["moves_recent"] == []
        assert not [one for one in bed.shared.iterdir() if one.name.startswith(".grid-offload-token-")]
        assert len(controlled.one_copy("plain", on="gpu-master")["chain"]) == 1
        controlled.nothing_left()
    finally:
        for pid in (locker, both):
            bed.exec("gpu-master", ["kill", "-9", str(pid)])


@pytest.mark.timeout(400)
def test_a_process_that_took_the_pid_over_is_never_touched(controlled):
    bed = controlled.bed
    controlled.start()
    controlled.ready()
    gone = bed.start_load("gpu-master", "former", cpu=0.1)
    move = controlled.start_move(gone.pid, "gpu1")
    controlled.reached(move, "queued")
    bed.exec("gpu-master", ["kill", "-9", str(gone.pid)])
    newcomer = ["/usr/bin/python3", str(bed.root / "bin/load.py"), "--name=newcomer", "--cpu=0.1"]
    where = [str(bed.shared), str(bed.shared / "newcomer.out")]
    bed.exec("gpu-master", ["/usr/bin/python3", "-c", TAKE_PID, str(gone.pid), "1001", *where, *newcomer])

    over = controlled.final(move)
    assert (over["state"], over["reason"]) == ("rolled_back", "PID_REUSED"), over["detail"]
    assert "frozen" not in [step["event"] for step in over["timeline"]]
    report = controlled.one_copy("newcomer", on="gpu-master")
    assert len(report["chain"]) == 1
    assert bed.running("former") == []
    controlled.nothing_left()
