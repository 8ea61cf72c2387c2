"""Services under a keeper: kept running, ended with all that they started, known again by pid and start time."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offloader.launcher import proc
from offloader.launcher.pack import pack

pytestmark = pytest.mark.slow

PYTHON = "/usr/bin/python3"
LIMIT_S = 20.0


def eventually(condition, what, limit_s=LIMIT_S):
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {limit_s} s: {what}"
        time.sleep(0.02)
    return found


class Node:
    """A node's services directory and the launcher there; whatever still runs at the end is ended by pid."""

    def __init__(self, root):
        package, digest = pack()
        self.launcher = root / f"launcher-{digest}.pyz"
        self.launcher.write_bytes(package)
        self.root = root
        self.names = set()

    def verb(self, *words, text=b"", code=0):
        done = subprocess.run(
            [PYTHON, "-I", self.launcher, *map(str, words)], input=text, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def tend(self, name, *argv, code=0, **more):
        self.names.add(name)
        spec = {"argv": argv, "environ": {"PATH": "/usr/bin:/bin"}, "listens": [], "ready_s": 5, "grace_s": 5}
        spec |= {"leaves": False, "mark": "m1", "user": pwd.getpwuid(os.geteuid()).pw_name, **more}
        return self.verb("tend", self.root / name, text=json.dumps(spec).encode(), code=code)

    def untend(self, name):
        return self.verb("untend", self.root / name)

    def state(self, name):
        return self.verb("tended", self.root / name)["services"][0]

    def keeper(self, name):
        return json.loads((self.root / name / "keeper.json").read_text())["keeper"]["pid"]


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path)
    yield made
    for name in made.names:
        made.untend(name)


def alive(pid):
    stat = proc.read_stat(pid)
    return stat is not None and not stat.dead


def sleeper(seconds=1000):
    return [PYTHON, "-c", f"import time; time.sleep({seconds})"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_service_runs_until_it_is_ended_and_starting_it_again_changes_nothing(node):
    first = node.tend("one", *sleeper())
    assert (first["state"], first["changed"], first["ready"]) == ("running", True, True)
    again = node.tend("one", *sleeper())
    assert (again["pid"], again["changed"]) == (first["pid"], False)
    ended = node.untend("one")
    assert (ended["state"], ended["changed"]) == ("stopped", True)
    assert not alive(first["pid"])
    assert node.untend("one")["changed"] is False


def test_one_that_was_never_started_is_absent_and_ending_it_is_no_error(node):
    assert node.state("nothing")["state"] == "absent"
    assert node.verb("untend", node.root / "nothing") == {"name": "nothing", "state": "absent", "changed": False}


def test_a_service_that_dies_is_started_again(node):
    first = node.tend("one", *sleeper())
    os.kill(first["pid"], signal.SIGKILL)
    again = eventually(
        lambda: (now := node.state("one"))["state"] == "running" and now["pid"] != first["pid"] and now, "a new one"
    )
    assert again["restarts"] == 1
    assert again["last_exit"]["status"] == -signal.SIGKILL


def test_everything_that_it_started_ends_with_it_also_what_left_its_session(node):
    program = "import os,subprocess,sys,time; p=subprocess.Popen(['setsid','--fork','sleep','1000']); time.sleep(1000)"
    started = node.tend("one", PYTHON, "-c", program)
    keeper = node.keeper("one")

    def orphan():
        return [stat.pid for stat in proc.all_stats() if stat.ppid == keeper and stat.pid != started["pid"]]

    (pid,) = eventually(orphan, "the daemon, a child of the keeper by now")
    node.untend("one")
    assert not alive(pid)


def test_what_a_service_is_meant_to_leave_behind_goes_on(node):
    file = node.root / "left"
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        f"        open({str(file)!r}, 'w').write(str(os.getpid()))\n"
        "        time.sleep(1000)\n"
        "    os._exit(0)\n"
        "time.sleep(1000)\n"
    )
    node.tend("one", PYTHON, "-c", program, leaves=True)
    pid = int(eventually(lambda: file.exists() and file.read_text(), "the guard"))
    try:
        assert node.untend("one")["state"] == "stopped"
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_one_that_does_not_mind_term_is_killed_after_its_grace(node):
    stubborn = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)"
    )
    started = node.tend("one", PYTHON, "-c", stubborn, grace_s=0.5)
    eventually(lambda: "deaf" in (node.root / "one/log").read_text(), "its handler")
    assert node.untend("one")["state"] == "stopped"
    assert not alive(started["pid"])


def test_a_killed_keeper_takes_its_service_along_and_a_new_start_mends_it(node):
    first = node.tend("one", *sleeper())
    os.kill(node.keeper("one"), signal.SIGKILL)
    eventually(lambda: not alive(first["pid"]), "its end")
    assert node.state("one")["state"] == "stopped"
    again = node.tend("one", *sleeper())
    assert (again["state"], again["changed"]) == ("running", True)


def test_ready_means_that_it_listens_and_one_that_never_does_says_its_last_words(node):
    port = free_port()
    server = [PYTHON, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    assert node.tend("one", *server, listens=[["127.0.0.1", port]], ready_s=15)["ready"] is True
    failing = [PYTHON, "-c", "import sys; sys.exit('no such thing')"]
    found = node.tend("two", *failing, listens=[["127.0.0.1", free_port()]], ready_s=2)
    assert found["ready"] is False
    assert "no such thing" in found["said"]


def test_a_program_that_is_not_there_is_told_in_its_log(node):
    found = node.tend("one", "/no/such/program", listens=[["127.0.0.1", free_port()]], ready_s=1)
    assert found["ready"] is False
    assert "/no/such/program: No such file or directory" in found["said"]


def test_two_starts_at_once_start_one(node):
    spec = {"argv": sleeper(), "environ": {}, "listens": [], "ready_s": 1, "grace_s": 5, "leaves": False, "mark": "m"}
    spec["user"] = pwd.getpwuid(os.geteuid()).pw_name
    node.names.add("one")
    line = [PYTHON, "-I", str(node.launcher), "tend", str(node.root / "one")]
    both = [subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for one in both:
        one.stdin.write(json.dumps(spec).encode())
        one.stdin.close()
    answers = [json.loads(one.stdout.read()) for one in both]
    for one in both:
        one.stdout.close()
        assert one.wait(30) == 0
    assert sorted(answer["changed"] for answer in answers) == [False, True]
    assert len({answer["pid"] for answer in answers}) == 1


@pytest.mark.parametrize(("private", "mask"), [(False, "0022"), (True, "0077")])
def test_what_a_private_service_writes_is_for_its_account_alone(node, private, mask):
    pid = node.tend("one", *sleeper(), private=private)["pid"]
    status = Path(f"/proc/{pid}/status")
    eventually(lambda: f"Umask:\t{mask}" in status.read_text(), "its umask")


def test_its_environment_is_what_was_asked_for_and_nothing_else(node):
    node.tend("one", *sleeper(), environ={"ONLY": "this"})
    pid = node.state("one")["pid"]
    assert proc.environ(pid) == [b"ONLY=this"]
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")


def test_a_service_that_makes_no_sense_is_refused(node):
    assert node.tend("one", "relative", code=1)["error"] == "BAD_CONFIG"


def test_the_sources_run_on_the_oldest_python_of_nodes():
    """Nothing newer than 3.9 is used: the package compiles for it."""
    import ast

    import offloader.launcher.care as package

    for source in Path(package.__file__).parent.glob("*.py"):
        ast.parse(source.read_text(), feature_version=(3, 9))
    assert sys.version_info >= (3, 11)
