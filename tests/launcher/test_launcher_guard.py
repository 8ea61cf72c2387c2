"""The source's role, with real processes frozen by every way that this machine has."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from offloader.launcher import cgroups, proc

pytestmark = pytest.mark.slow

PYTHON = "/usr/bin/python3"
USABLE = [one.how for one in cgroups.find() if os.access(one.mount, os.W_OK)]
WAYS = [
    pytest.param("v1", marks=pytest.mark.skipif("v1" not in USABLE, reason="no writable v1 freezer hierarchy")),
    pytest.param("v2", marks=pytest.mark.skipif("v2" not in USABLE, reason="no writable v2 hierarchy")),
    "stop",
]
every_way = pytest.mark.parametrize("way", WAYS)

# Counts in a file that nothing else writes: a frozen process does not count.
COUNTING = """
import mmap, sys, time
with open(sys.argv[1], "r+b") as stream:
    shared = mmap.mmap(stream.fileno(), 8)
up()
n = 0
while True:
    n += 1
    shared[:8] = n.to_bytes(8, "little")
    time.sleep(0.001)
"""


class Counter:
    """A process that shows whether it executes, without writing to anything that the guard compares."""

    def __init__(self, bench, **options) -> None:
        self._file = Path("/dev/shm") / bench.move
        self._file.write_bytes(bytes(8))
        self._file.chmod(0o666)
        self.process = bench.python(COUNTING, str(self._file), **options)
        self.pid = self.process.pid

    def value(self) -> int:
        return int.from_bytes(self._file.read_bytes(), "little")

    def runs(self, seconds: float = 0.3) -> bool:
        before = self.value()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.value() != before:
                return True
            time.sleep(0.005)
        return False

    def close(self) -> None:
        self._file.unlink()


@pytest.fixture
def counter(bench):
    counter = Counter(bench)
    yield counter
    counter.close()


def _frozen(bench, pids, **config):
    directory, guard = bench.guard(pids, **config)
    link = bench.link(directory, hello="armed")
    link.send(do="freeze")
    event = link.expect("frozen")
    return directory, guard, link, event


@every_way
def test_a_frozen_job_executes_nothing_and_thawed_it_goes_on(bench, counter, way):
    """Frozen means stopped, thawed means exactly where it was: same cgroups, nothing left behind."""
    before = Path(f"/proc/{counter.pid}/cgroup").read_text()
    *_, link, event = _frozen(bench, [counter.pid], ways=[way])
    assert (event["how"], event["pids"]) == (way, [counter.pid])
    assert event["took_s"] < 2
    assert not counter.runs()
    link.send(do="thaw", force=False)
    link.expect("thawed")
    assert counter.runs(5)
    assert Path(f"/proc/{counter.pid}/cgroup").read_text() == before
    assert bench.cgroups() == []


@every_way
def test_a_tree_that_keeps_forking_freezes_to_a_stable_set(bench, way):
    """Whatever it forks while it is being frozen is frozen too."""
    leader = bench.forker()
    *_, link, event = _frozen(bench, [leader.pid], ways=[way])
    first = set(bench.mine()) & set(event["pids"])
    assert leader.pid in first
    time.sleep(0.5)
    started = {pid for pid in bench.mine() if b"os.fork" in Path(f"/proc/{pid}/cmdline").read_bytes()}
    assert started == first, "nobody was born and nobody ended"
    link.send(do="end")
    link.expect("ended")
    assert leader.wait(10) == -signal.SIGKILL
    assert {pid for pid in first if proc.read_stat(pid) and not proc.read_stat(pid).dead} == set()
    assert bench.cgroups() == []


@every_way
def test_ending_never_lets_it_execute_again(bench, way):
    """KILL while frozen, then thaw: not one more step, and its TERM handler never runs."""
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[1], 'w').close())\n"
        "up()\nwhile True: time.sleep(0.001)"
    )
    ran = bench.root / "ran"
    process = bench.python(program, str(ran))
    directory, _, link, _ = _frozen(bench, [process.pid], ways=[way])
    for _ in range(2):
        link.send(do="end")
        link.expect("ended")
    assert process.wait(10) == -signal.SIGKILL
    assert not ran.exists()
    assert bench.verb("status", directory)["state"] == "ended"
    link.send(do="quit")
    assert link.next() is None


@every_way
def test_descendants_in_other_sessions_and_groups_belong_to_it(bench, way):
    """A child that made its own session is frozen and killed with the rest."""
    program = (
        "import os, time\nif os.fork() == 0: os.setsid()\nelse: time.sleep(0.1); up()\nwhile True: time.sleep(0.01)"
    )
    leader = bench.python(program)
    *_, link, event = _frozen(bench, [leader.pid], ways=[way])
    assert len(event["pids"]) == 2
    link.send(do="end")
    link.expect("ended")
    assert all(proc.read_stat(pid) is None or proc.read_stat(pid).dead for pid in event["pids"])


def test_an_orphan_of_the_jobs_own_group_belongs_to_it(bench):
    """Its parent has ended and init adopted it: found by the process group that the job made."""
    program = (
        "import os, time\nif os.fork() == 0:\n  if os.fork() != 0: os._exit(0)\nelse: os.wait(); up()\ntime.sleep(1000)"
    )
    leader = bench.python(program)
    *_, event = _frozen(bench, [leader.pid])
    assert len(event["pids"]) == 2


def test_without_contact_it_thaws_by_itself(bench, counter):
    """The watchdog: the controller is gone, the original goes on."""
    directory, _, link, _ = _frozen(bench, [counter.pid], limit_s=0.5)
    link.close()
    assert counter.runs(5)
    assert bench.verb("status", directory)["state"] == "thawed"
    again = bench.link(directory, hello="thawed")
    again.send(do="hold")
    assert again.expect("failed")["reason"] == "WATCHDOG_LOST"
    again.send(do="freeze")
    assert again.expect("failed")["reason"] == "FREEZE_FAILED"
    again.send(do="end")
    assert again.expect("failed")["reason"] == "NOT_FROZEN"
    assert counter.runs(5)


def test_a_link_alone_is_no_contact(bench, counter):
    """A connection that stays open without saying so keeps nothing frozen; `alive` does."""
    *_, link, _ = _frozen(bench, [counter.pid], limit_s=0.6)
    for _ in range(5):
        time.sleep(0.3)
        link.send(do="alive", for_s=0.6)
    assert not counter.runs()
    assert link.expect("thawed")["unasked"]
    assert counter.runs(5)


def test_contact_with_a_number_is_confirmed_with_the_state(bench, counter):
    """A lease is granted on this answer alone: it must tell when the watchdog was faster."""
    *_, link, _ = _frozen(bench, [counter.pid], limit_s=5)
    link.send(do="alive", for_s=0.3, seq=1)
    answer = link.expect("alive")
    assert (answer["seq"], answer["state"]) == (1, "frozen")
    assert link.expect("thawed")["unasked"]
    link.send(do="alive", for_s=5, seq=2)
    answer = link.expect("alive")
    assert (answer["seq"], answer["state"]) == (2, "thawed")


def test_hold_keeps_it_frozen_without_contact_and_unhold_gives_it_back_to_the_watchdog(bench, counter):
    """While ownership may be passing, time decides nothing."""
    directory, _, link, _ = _frozen(bench, [counter.pid], limit_s=0.3)
    link.send(do="hold")
    link.expect("holding")
    assert bench.verb("status", directory)["state"] == "holding"
    link.close()
    time.sleep(0.8)
    assert not counter.runs()
    link = bench.link(directory, hello="holding")
    link.send(do="thaw")
    assert link.expect("failed")["reason"] == "HOLDING"
    link.send(do="quit")
    assert link.expect("failed")["reason"] == "STILL_FROZEN"
    link.send(do="unhold")
    link.expect("frozen")
    link.expect("thawed")
    assert counter.runs(5)


@pytest.mark.parametrize("how", ["truncated", "grown", "replaced", "touched"])
def test_it_is_not_thawed_onto_files_that_changed(bench, how):
    """The successor wrote to the original's file: it stays frozen and says which; `force` thaws it all the same."""
    data = bench.root / "data"
    program = (
        "import sys, time\nstream = open(sys.argv[1], 'w')\nstream.write('x' * 100); stream.flush()\n"
        "up()\ntime.sleep(1000)"
    )
    process = bench.python(program, str(data))
    directory, _, link, _ = _frozen(bench, [process.pid], limit_s=0.5)
    link.send(do="record")
    assert link.expect("recorded")["files"] == 1
    if how == "truncated":
        data.write_text("")
    elif how == "grown":
        with data.open("a") as stream:
            stream.write("more")
    elif how == "replaced":
        (bench.root / "other").write_text("new")
        (bench.root / "other").rename(data)
    else:
        os.utime(data, (0, 0))
    assert link.expect("changed")["files"][0].startswith(str(data)), "the watchdog does not thaw it either"
    time.sleep(0.7)
    assert bench.verb("status", directory)["state"] == "changed"
    link.send(do="thaw", force=False)
    link.expect("changed")
    link.send(do="thaw", force=True)
    link.expect("thawed")


def test_a_log_that_is_only_appended_to_may_have_grown(bench, counter):
    """The successor logged a line to the shared log: no reason to throw the original's work away."""
    log = bench.root / "log"
    program = (
        "import sys, time\nstream = open(sys.argv[1], 'a')\nstream.write('one'); stream.flush()\nup()\ntime.sleep(1000)"
    )
    process = bench.python(program, str(log))
    *_, link, _ = _frozen(bench, [process.pid])
    link.send(do="record")
    link.expect("recorded")
    with log.open("a") as stream:
        stream.write("two")
    link.send(do="thaw")
    link.expect("thawed")


def test_unchanged_files_do_not_keep_it_frozen(bench):
    """Reading them is no change."""
    data = bench.root / "data"
    process = bench.python("import sys, time\nstream = open(sys.argv[1], 'w')\nup()\ntime.sleep(1000)", str(data))
    *_, link, _ = _frozen(bench, [process.pid])
    link.send(do="record")
    link.expect("recorded")
    data.read_bytes()
    link.send(do="thaw")
    link.expect("thawed")


@every_way
@pytest.mark.parametrize("state", ["frozen", "holding"])
def test_a_killed_guard_is_followed_by_its_keeper(bench, counter, eventually, way, state):
    """SIGKILL of the guard: somebody still watches, in the same state, and thaws in the end."""
    directory, guard, link, _ = _frozen(bench, [counter.pid], ways=[way], limit_s=1.0)
    if state == "holding":
        link.send(do="hold")
        link.expect("holding")
    os.kill(guard, signal.SIGKILL)
    assert link.next() is None
    eventually(lambda: bench.verb("status", directory)["launcher_alive"], "the keeper became the guard")
    assert not counter.runs()
    link = bench.link(directory, hello=state)
    if state == "holding":
        time.sleep(1.2)
        assert not counter.runs()
        link.send(do="unhold")
        link.expect("frozen")
    link.expect("thawed")
    assert counter.runs(5)
    assert bench.cgroups() == []


@every_way
def test_guard_and_keeper_killed_a_new_guard_takes_over(bench, counter, eventually, way):
    """`guard DIR` with nothing on stdin: what was frozen is found, and can still be ended or thawed."""
    directory, *_ = _frozen(bench, [counter.pid], ways=[way])
    for pid in bench.roles(directory):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not bench.roles(directory))
    assert not counter.runs()
    assert bench.verb("guard", directory)["guard_pid"]
    link = bench.link(directory, hello="frozen")
    link.send(do="end")
    link.expect("ended")
    assert counter.process.wait(10) == -signal.SIGKILL
    assert bench.cgroups() == []


def test_taking_over_where_nothing_was_says_so(bench):
    """Nothing is frozen when no guard ever ran."""
    assert bench.verb("guard", bench.root / "moves" / "none")["error"] == "NO_STATE"


def test_a_half_done_freeze_is_undone_by_the_next_guard(bench, counter):
    """Killed between freezing and its state file: the next one finds the cgroup, thaws, and is armed again."""
    directory, _guard, _link, _ = _frozen(bench, [counter.pid])
    for pid in bench.roles(directory):
        os.kill(pid, signal.SIGKILL)
    state = json.loads((directory / "state.json").read_text())
    (directory / "state.json").write_text(json.dumps({**state, "state": "freezing"}))
    assert not counter.runs()
    assert bench.verb("guard", directory)["guard_pid"]
    bench.link(directory, hello="armed")
    assert counter.runs(5)
    assert bench.cgroups() == []


def test_only_one_guard_has_the_move(bench, counter):
    """A second one for the same directory is refused while the first one lives."""
    directory, *_ = _frozen(bench, [counter.pid])
    assert bench.verb("guard", directory)["error"] == "LOCKED"
    assert bench.verb("guard", directory, stdin=bench.guard_config([counter.pid]))["error"] == "LOCKED"
    assert not counter.runs()


def test_a_re_used_pid_is_never_touched(bench, counter):
    """Same pid, other start time, other executable or other boot: refused before anything is armed."""
    directory = bench.root / "moves" / bench.move
    good = bench.guard_config([counter.pid])
    for change, code in (
        ({"start_ticks": 1}, "PID_REUSED"),
        ({"exe_inode": 1}, "PID_REUSED"),
        ({"uid": 4242}, "PID_REUSED"),
        ({"boot_id": "another"}, "ORIGINAL_GONE"),
        ({"pid": 4194000}, "ORIGINAL_GONE"),
    ):
        config = {**good, "identities": [{**good["identities"][0], **change}]}
        assert bench.verb("guard", directory, stdin=config)["error"] == code, change
    assert counter.runs()


@pytest.mark.parametrize(
    "change",
    [
        {"identities": []},
        {"identities": [{"pid": 1}]},
        {"move": "../x"},
        {"epoch": "1"},
        {"limit_s": -1},
        {"ways": ["x"]},
    ],
)
def test_a_wrong_configuration_is_refused_by_field(bench, counter, change):
    """Nothing half-armed."""
    config = {**bench.guard_config([counter.pid]), **change}
    answer = bench.verb("guard", bench.root / "moves" / "m", stdin=config)
    assert answer["error"] == "BAD_CONFIG"
    assert next(iter(change)) in answer["detail"]


@pytest.mark.parametrize("state", ["armed", "frozen", "holding"])
def test_an_original_killed_by_somebody_else_is_reported_gone(bench, counter, state):
    """Its owner or the OOM killer was faster: `gone`, at once, and ending it then is already true."""
    if state == "armed":
        directory, _ = bench.guard([counter.pid])
        link = bench.link(directory, hello="armed")
    else:
        directory, _, link, _ = _frozen(bench, [counter.pid], ways=["v2", "stop"])
    if state == "holding":
        link.send(do="hold")
        link.expect("holding")
    counter.process.kill()
    event = link.expect("gone")
    assert (event["pids"], event["left"]) == ([counter.pid], [])
    if state == "armed":
        link.send(do="freeze")
        link.expect("gone")
    else:
        link.send(do="hold")
        link.expect("holding")
        link.send(do="end")
        link.expect("ended")
    assert bench.cgroups() == []


def test_what_cannot_be_frozen_in_time_is_let_go(bench, counter):
    """A limit of zero stands for a process stuck in the kernel: FREEZE_FAILED, and it runs as before."""
    directory, _ = bench.guard([counter.pid], freeze_s=0.0)
    link = bench.link(directory, hello="armed")
    link.send(do="freeze")
    assert link.expect("failed")["reason"] == "FREEZE_FAILED"
    assert counter.runs(5)
    assert bench.cgroups() == []
    assert bench.verb("status", directory)["state"] == "armed"


def test_nothing_is_frozen_that_could_not_be_found_again(bench, counter):
    """A full disk before freezing: refused, nothing stopped. While frozen: thawing works all the same."""
    directory, _ = bench.guard([counter.pid])
    link = bench.link(directory, hello="armed")
    blocker = directory / ".state.json.new"
    blocker.mkdir()
    link.send(do="freeze")
    assert link.expect("failed")["reason"] == "JOURNAL_FAILED"
    assert counter.runs(5)
    blocker.rmdir()
    link.send(do="freeze")
    link.expect("frozen")
    blocker.mkdir()
    link.send(do="hold")
    assert link.expect("failed")["reason"] == "JOURNAL_FAILED"
    link.send(do="thaw")
    link.expect("thawed")
    assert counter.runs(5)
    assert bench.cgroups() == []


def test_an_idle_guard_leaves_and_a_frozen_one_never_does(bench, counter, eventually):
    """Armed and unlinked it ends by itself; with frozen processes not even SIGTERM ends it."""
    directory, _guard = bench.guard([counter.pid], unlinked_s=0.3)
    eventually(lambda: not bench.roles(directory), "an armed guard that nobody wants ends")
    answer = bench.verb("guard", directory, stdin=bench.guard_config([counter.pid], unlinked_s=0.3))
    link = bench.link(directory, hello="armed")
    link.send(do="freeze")
    link.expect("frozen")
    link.send(do="hold")
    link.expect("holding")
    os.kill(answer["guard_pid"], signal.SIGTERM)
    link.close()
    time.sleep(0.6)
    assert bench.verb("status", directory)["launcher_alive"]


@pytest.mark.root
def test_the_guard_outlives_its_starters_cgroup(bench, counter, eventually):
    """A service manager stops the controller and kills its whole cgroup: guard and keeper are not in it."""
    hierarchy = next((one for one in cgroups.find() if one.how == "v2" and os.access(one.mount, os.W_OK)), None)
    if hierarchy is None:
        pytest.skip("no writable v2 hierarchy")
    service = Path(hierarchy.mount) / f"grid-offload-{bench.move}"  # a name that the bench removes
    service.mkdir()
    directory = bench.root / "moves" / bench.move
    starter = ["sh", "-c", f"echo 0 > {service}/cgroup.procs && exec {PYTHON} -I {bench.launcher} guard {directory}"]
    config = json.dumps(bench.guard_config([counter.pid])).encode()
    answer = json.loads(subprocess.run(starter, input=config, capture_output=True, check=True).stdout)
    assert (service / "cgroup.procs").read_text() == ""
    assert len(bench.roles(directory)) == 2
    assert hierarchy.of(answer["guard_pid"]) == Path(hierarchy.mount)


def test_stopping_is_refused_where_a_shell_would_notice(bench):
    """A foreground job of an interactive shell: SIGSTOP would make the shell go on with its next command."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve("/bin/bash", ["bash", "--norc", "-i"], {**bench.environment(), "PS1": ""})
    try:
        os.write(terminal, f"cat /dev/zero > /dev/null; touch {bench.root}/next\n".encode())
        deadline = time.monotonic() + 10
        while not (cats := [one for one in proc.all_stats() if one.ppid == pid]) or not _is(cats[0].pid, b"cat"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        job = cats[0].pid
        directory, _ = bench.guard([job], ways=["stop"])
        link = bench.link(directory, hello="armed")
        link.send(do="freeze")
        event = link.expect("failed")
        assert event["reason"] == "FREEZE_FAILED"
        assert str(pid) in event["detail"]
        assert proc.read_stat(job).state in "RS"
        link.send(do="quit")
        assert link.next() is None
        if USABLE:
            bench.verb("guard", directory, stdin=bench.guard_config([job], ways=USABLE))
            link = bench.link(directory, hello="armed")
            link.send(do="freeze")
            link.expect("frozen")
            time.sleep(0.3)
            link.send(do="thaw")
            link.expect("thawed")
        assert not (bench.root / "next").exists(), "the shell still waits"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)


def _is(pid: int, name: bytes) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(name)
    return False


@pytest.mark.root
def test_an_ordinary_user_freezes_its_own_job_by_stopping(bench):
    """No cgroup may be written: SIGSTOP is the way, and nobody else's process can be armed."""
    account = {"user": 65534, "group": 65534, "extra_groups": []}
    home = bench.root / "user"
    home.mkdir()
    os.chown(home, 65534, 65534)
    counter = Counter(bench, **account)
    try:
        config = bench.guard_config([counter.pid])
        assert "guard_pid" in bench.verb("guard", home / "move", stdin=config, **account)
        link = bench.link(home / "move", hello="armed")
        link.send(do="freeze")
        assert link.expect("frozen")["how"] == "stop"
        assert not counter.runs()
        link.send(do="thaw")
        link.expect("thawed")
        assert counter.runs(5)
        other = bench.guard_config([bench.sleeper().pid])
        assert "error" in bench.verb("guard", home / "other", stdin=other, **account)
    finally:
        counter.close()


def test_garbage_on_the_link_does_not_disturb_a_frozen_job(bench, counter):
    """Wrong messages are refused; the state stays."""
    directory, _, link, _ = _frozen(bench, [counter.pid])
    for message in ({"do": "dance"}, {"do": ["end"]}, {"do": None}, {}, {"do": "alive", "for_s": "x"}):
        link.send(**message)
    assert [link.expect("failed")["reason"] for _ in range(4)] == ["BAD_MESSAGE"] * 4
    link.raw(b"{]\n")
    assert link.next()["error"] == "BAD_MESSAGE"
    bench.link(directory, hello="frozen")
    assert not counter.runs()


def test_a_reader_that_never_reads_does_not_block_the_guard(bench, counter):
    """A link behind a partition fills up; the watchdog still thaws."""
    _directory, _, link, _ = _frozen(bench, [counter.pid], limit_s=0.5)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, socket.timeout):
        for _ in range(20_000):
            link.send(do="freeze")
    assert counter.runs(10)
