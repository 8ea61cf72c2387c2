"""What cannot be moved live is known before anything is touched, by its code; the next strategy is taken, or none."""

import json
import re
import shlex
import subprocess

import pytest
from _testbed import leftovers

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.criu, pytest.mark.timeout(400)]

HEAD, TARGET = "gpu-master", "gpu1"
REFUSED, FAILED = 4, 7
PYTHON = "/usr/bin/python3"


class Stuck:
    """Programs that have something which does not travel, each on the head by root."""

    def __init__(self, rooted):
        self.controlled, self.bed = rooted, rooted.bed
        self.own = self.bed.root / "private/stuck"
        """A path that every node has for itself."""
        self.pids = []
        for node in (HEAD, TARGET):
            self.bed.exec(node, ["rm", "-rf", str(self.own)])
            self.bed.exec(node, ["mkdir", str(self.own)])

    def start(self, name, source, *, python=PYTHON, suffix="", **environment):
        """Python that sleeps once it has made what it has; `suffix`: of the shell's command line. Returns its pid."""
        ready = self.bed.shared / f"{name}.pid"
        tell = f"if os.path.exists({str(ready) + '.new'!r}): os.rename({str(ready) + '.new'!r}, {str(ready)!r})"
        program = f"import os, time\n{source}\n{tell}\ntime.sleep(900)\n"
        words = shlex.join([python, "-c", program])
        line = f"echo $$ > {shlex.quote(str(ready))}.new; exec {words} {suffix}"
        pid = self.bed.start_program(HEAD, name, ("bash", "-c", line), user="root", environment=environment).pid
        self.pids.append(pid)
        return pid

    def end(self):
        """Leave none of them to the tests that follow."""
        for pid in self.pids:
            self.bed.exec(HEAD, ["sh", "-c", f"kill -KILL {pid} 2>/dev/null || true"])

    def judged(self, pid):
        """The codes that a dry run of a live move tells; of what is in the way of every move, the first alone."""
        done = self.controlled.cli(*self._asked(pid), "--dry-run")
        plans = json.loads(done.stdout)
        found = {one["reason"] for plan in plans for one in plan["obstacles"]}
        found |= set() if plans else set(re.findall(r"\[([A-Z_]+)\]", done.stderr))
        assert done.returncode == (REFUSED if found else 0), done.stderr
        return found

    def _asked(self, pid):
        """Nothing is copied for it: what lies in its directory has to be there."""
        return ("move", str(pid), "--strategy", "live", "-t", TARGET, "--no-stage", "--format", "json")

    def refused(self, pid, reason):
        """The real one is refused, or rolled back before it touched anything."""
        done = self.controlled.cli(
            "move", str(pid), "--strategy", "live", "-t", TARGET, "--no-stage", "--format", "json"
        )
        assert done.returncode in {REFUSED, FAILED}, done.stderr
        assert reason in done.stderr, done.stderr
        for move in json.loads(done.stdout):
            assert (move["state"], move["reason"]) == ("rolled_back", reason)
            assert "frozen" not in [step["event"] for step in self.controlled.move(move["id"])["timeline"]]
        assert self.bed.proc(HEAD, pid, "stat").rpartition(b")")[2].split()[0] == b"S"


@pytest.fixture
def stuck(rooted):
    rooted.start(mode="observe")
    rooted.ready()
    made = Stuck(rooted)
    yield made
    made.end()


def breaks(stuck):
    """Name, what the program does, the code: all that CRIU is known to fail, hang or go wrong on."""
    own, shared, address = stuck.own, stuck.bed.shared, stuck.bed.ip(HEAD)
    return [
        ("no-file", f"kept = open('{own}/log', 'w')", "NO_FILE"),
        ("no-cwd", f"os.mkdir('{own}/here'); os.chdir('{own}/here')", "NO_DIRECTORY"),
        (
            "no-shared-memory",
            "import mmap\nk = open('/dev/shm/stuck', 'w+b')\nk.truncate(99)\nm = mmap.mmap(k.fileno(), 0)\nk.close()",
            "NO_FILE",
        ),
        ("other-size", f"kept = open('{own}/data')", "NO_FILE"),
        ("own-address", f"import socket\nkept = socket.create_server(('{address}', 0))", "LISTENER"),
        (
            "connected",
            f"import socket\nkept = socket.create_connection(('{stuck.bed.ip(TARGET)}', 22))",
            "REMOTE_CONNECTION",
        ),
        (
            "locked",
            f"import fcntl\nkept = open('{shared}/stuck.lock', 'w')\nfcntl.flock(kept, fcntl.LOCK_EX)",
            "LOCKED",
        ),
        (
            "system-v",
            "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.shmat(libc.shmget(0, 4096, 0o1600), None, 0)",
            "UNSUPPORTED_FD",
        ),
        (
            "renamed",
            f"kept = open('{shared}/a', 'w')\nos.link('{shared}/a', '{shared}/b')\nos.unlink('{shared}/a')",
            "UNSUPPORTED_FD",
        ),
    ]


def test_everything_that_criu_breaks_on_is_found_before_and_by_its_code(stuck):
    stuck.bed.exec(HEAD, ["bash", "-c", f"echo here > {stuck.own}/data"])
    stuck.bed.exec(TARGET, ["bash", "-c", f"echo something else > {stuck.own}/data"])
    wrong = {}
    for name, source, reason in breaks(stuck):
        pid = stuck.start(name, source)
        if stuck.judged(pid) != {reason}:
            wrong[name] = stuck.judged(pid)
        else:
            stuck.refused(pid, reason)
    assert wrong == {}
    assert leftovers.frozen(stuck.controlled.settings) == []


def test_another_build_of_the_program(stuck):
    stuck.bed.exec(HEAD, ["cp", PYTHON, f"{stuck.own}/python3"])
    stuck.bed.exec(TARGET, ["cp", "/usr/bin/true", f"{stuck.own}/python3"])
    pid = stuck.start("other-build", "", python=f"{stuck.own}/python3")
    assert stuck.judged(pid) == {"NO_EXECUTABLE"}
    stuck.refused(pid, "NO_EXECUTABLE")


def test_a_pipe_to_what_does_not_descend_from_it(stuck):
    pid = stuck.start("piped", "", suffix=f"> >(setsid --fork cat >{stuck.bed.shared}/piped.cat)")
    assert stuck.judged(pid) & {"NOT_ONE_TREE", "OPEN_EDGE"}


def test_a_terminal(stuck):
    """Of somebody who is logged in."""
    bed = stuck.bed
    line = ["ssh", "-tt", "-F", bed.ssh_config, "-i", bed.identity(), f"root@{HEAD}"]
    command = f"exec {PYTHON} -c 'import os, time; print(\"pid=%d.\" % os.getpid(), flush=True); time.sleep(900)'"
    login = subprocess.Popen([*line, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        said = b""
        while not said.endswith(b"."):
            said += login.stdout.read(1)
        pid = int(said.strip(b".").rpartition(b"=")[2])
        assert "TERMINAL" in stuck.judged(pid)
    finally:
        login.kill()
        login.communicate()


def test_what_is_harmless_to_run_again_is_moved_by_the_next_strategy(stuck):
    """Nobody has to ask for it, and the plan says what was in the way of the better one."""
    pid = stuck.start("falls-back", breaks(stuck)[7][1], GRID_OFFLOAD="allow")
    (plan,) = json.loads(stuck.controlled.ok("move", str(pid), "-t", TARGET, "--dry-run", "--format", "json"))
    assert plan["strategy"] == "restart"
    assert any("live" in note and "System V" in note for note in plan["notes"]), plan["notes"]
    (move,) = json.loads(stuck.controlled.ok("move", str(pid), "-t", TARGET, "--format", "json", timeout=150))
    assert (move["state"], move["strategy"]) == ("done", "restart")


def test_without_a_usable_criu_work_is_still_moved_and_what_is_missing_is_said(rooted):
    """`scan` shows it beforehand, with the way to mend it."""
    bed = rooted.bed
    rooted.start(mode="observe", criu="/nonexistent/criu")
    rooted.ready()
    load = bed.start_load(HEAD, "nocriu", user="root", cpu=0.05, environment={"GRID_OFFLOAD": "allow"})
    done = rooted.cli("move", str(load.pid), "--strategy", "live", "-t", TARGET, "--dry-run", "--format", "json")
    (plan,) = json.loads(done.stdout)
    assert {one["reason"] for one in plan["obstacles"]} == {"NO_CRIU"}, "on both sides"
    assert "/nonexistent/criu" in plan["obstacles"][0]["seen"]
    assert "deploy/criu" in plan["obstacles"][0]["remedy"]
    (move,) = json.loads(rooted.ok("move", str(load.pid), "-t", TARGET, "--format", "json", timeout=150))
    assert (move["state"], move["strategy"]) == ("done", "restart")
    rooted.one_copy("nocriu", on=TARGET)
