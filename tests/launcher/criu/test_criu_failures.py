"""Whatever goes wrong before ownership: nothing half restored runs, nothing hangs, and the original goes on."""

import dataclasses
import fcntl
import os
import random
import signal
import socket
import time
from pathlib import Path

import pytest

from offloader.launcher import cgroups, proc
from offloader.launcher.criu.arguments import Pages
from offloader.launcher.criu.dumping import Dump, options_for
from offloader.launcher.errors import LauncherError

pytestmark = [pytest.mark.slow, pytest.mark.criu]

CRIU = str(Path(__file__).resolve().parents[3] / ".cache/criu/criu")
USABLE = [one.how for one in cgroups.find() if os.access(one.mount, os.W_OK)]

COUNT = """
import sys, threading, time
pad = bytearray(range(256)) * 4096 * int(sys.argv[2])
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
with open(sys.argv[1], "a") as stream:
    up()
    n = 0
    while True:
        n += 1
        stream.write(f"{n}\\n")
        stream.flush()
        time.sleep(0.001)
"""


@pytest.fixture
def job(bench, witness, eventually):
    process = bench.python(COUNT, str(witness.path), "8")
    eventually(lambda: witness.count() > 3, "it counts")
    return process


def counts_on(witness, eventually):
    before = witness.count()
    eventually(lambda: witness.count() > before + 3, "it counts on")
    witness.contiguous()


@pytest.mark.parametrize("way", USABLE)
def test_after_a_dump_the_job_is_as_frozen_as_before_and_a_thaw_is_all_it_takes(rig, job, witness, eventually, way):
    """No stop that a shell would notice, nothing executed, nothing to undo."""
    frost = rig.freeze(job.pid, way=way)
    before = witness.count()
    rig.dump(job.pid, frost, rig.images())
    assert frost.frozen.hierarchy.is_frozen(frost.frozen.directory)
    assert proc.read_stat(job.pid).state != "T"
    assert witness.count() == before
    frost.thaw()
    counts_on(witness, eventually)
    assert os.waitpid(job.pid, os.WNOHANG | os.WUNTRACED) == (0, 0)


@pytest.mark.parametrize("way", USABLE)
def test_a_dump_that_is_given_up_at_any_moment_harms_nothing(rig, job, witness, eventually, way):
    """Twenty times at odd moments: the original is frozen afterwards, and goes on when it is thawed."""
    chance = random.Random(5)
    for _ in range(20):
        frost = rig.freeze(job.pid, way=way)
        dump = Dump(CRIU, job.pid, frost.frozen, rig.images(), options_for(job.pid), limit_s=30)
        time.sleep(chance.uniform(0.01, 0.08))
        dump.abort()
        assert frost.frozen.hierarchy.is_frozen(frost.frozen.directory)
        frost.thaw()
        counts_on(witness, eventually)


def test_a_second_hop_that_is_given_up_harms_nothing_either(rig, job, witness, eventually):
    """There criu works inside the cradle, out of reach of its parent."""
    node = rig.move(job.pid)
    node.go_on()
    leader, chance = node.leader(), random.Random(6)
    for _ in range(12):
        frost = rig.freeze(leader)
        dump = Dump(CRIU, leader, frost.frozen, rig.images(), options_for(leader), limit_s=30)
        time.sleep(chance.uniform(0.0, 0.08))
        dump.abort()
        assert frost.frozen.hierarchy.is_frozen(frost.frozen.directory)
        frost.thaw()
        counts_on(witness, eventually)


def test_a_transfer_that_stalls_ends_at_its_deadline(rig, job, witness, eventually):
    """A partition in the middle: nobody takes the memory. criu has no limit of its own for that."""
    near, far = socket.socketpair()
    with near, far:
        frost = rig.freeze(job.pid)
        pages = Pages(socket=near.fileno())
        dump = Dump(CRIU, job.pid, frost.frozen, rig.images(), options_for(job.pid), limit_s=1.0, pages=pages)
        began = time.monotonic()
        with pytest.raises(LauncherError, match="TIMEOUT"):
            dump.wait()
        assert time.monotonic() - began < 8
    frost.thaw()
    counts_on(witness, eventually)


def test_what_criu_cannot_dump_is_said_in_its_words_and_the_job_is_still_frozen(rig, bench, witness, eventually):
    """A second root: criu would take one tree and leave the rest."""
    one = bench.python(COUNT, str(witness.path), "1")
    two = bench.sleeper()
    frost = rig.freeze(one.pid, two.pid)
    with pytest.raises(LauncherError, match=rf"NOT_ONE_TREE.*{two.pid}"):
        rig.dump(one.pid, frost, rig.images())
    options = dataclasses.replace(options_for(one.pid), ghost_limit_bytes=1)
    frost.thaw()
    hidden = bench.python("import time\nf = open('hidden', 'w+')\nf.write('x' * 999)\nf.flush()\nimport os\n"
                          "os.unlink('hidden')\nup()\ntime.sleep(1000)")  # fmt: skip
    frost = rig.freeze(hidden.pid)
    with pytest.raises(LauncherError, match=r"DUMP_FAILED.*ghost"):
        rig.dump(hidden.pid, frost, rig.images(), options)
    assert frost.frozen.hierarchy.is_frozen(frost.frozen.directory)


def test_a_restore_that_waits_for_a_lock_of_the_original_is_ended_at_its_deadline(rig, bench):
    """Measured: without a namespace of its own it hung for ever, past `timeout`. Nothing of it is left."""
    lock = bench.root / "lock"
    program = f"import fcntl, time\nf = open({str(lock)!r}, 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\nup()\ntime.sleep(1000)"
    process = bench.python(program)
    frost = rig.freeze(process.pid)
    node = rig.cradle()
    node.images = rig.images()
    node.tasks = rig.dump(process.pid, frost, node.images)["tasks"]
    began = time.monotonic()
    event = node.ask(limit_s=1.0)
    assert event["event"] == "failed"
    assert time.monotonic() - began < 8
    assert node.next() is None
    node.cradle.close()
    with lock.open() as stream, pytest.raises(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the original's, and only its
    frost.thaw()
    assert process.poll() is None


def test_a_restore_that_fails_says_why_and_leaves_nothing(rig, job, bench, eventually):
    """The job's file is gone at the target."""
    frost = rig.freeze(job.pid)
    node = rig.cradle()
    node.images = rig.images()
    node.tasks = rig.dump(job.pid, frost, node.images)["tasks"]
    frost.end()
    (bench.root / "witness").unlink()
    event = node.ask()
    assert (event["event"], event["reason"]) == ("failed", "LAUNCH_FAILED")
    assert "witness" in event["detail"]
    assert node.next() is None
    eventually(lambda: proc.read_stat(node.cradle.pid).dead, "the init has ended")


def test_other_processes_than_those_dumped_are_no_proof(rig, job):
    """An image of another job under that name: it is ended before it could execute anything."""
    frost = rig.freeze(job.pid)
    node = rig.cradle()
    node.images = rig.images()
    node.tasks = rig.dump(job.pid, frost, node.images)["tasks"]
    frost.end()
    event = node.ask(tasks=[{**node.tasks[0], "uid": 12345}])
    assert (event["event"], event["reason"]) == ("failed", "NOT_PROVEN")
    assert "uid" in event["detail"]
    assert node.next() is None


@pytest.mark.parametrize("moment", ["waiting", "stopped", "running"])
def test_a_cradle_that_loses_its_launcher_takes_everything_along(rig, job, witness, eventually, moment):
    """kill -9 of the launcher: no copy may run on unseen. The socket's end is enough, and so is the parent's death."""
    node = rig.cradle()
    if moment != "waiting":
        frost = rig.freeze(job.pid)
        node.images = rig.images()
        node.tasks = rig.dump(job.pid, frost, node.images)["tasks"]
        frost.end()
        node.restore()
    restored = rig.bench.mine()
    if moment == "running":
        node.go_on()
        counts_on(witness, eventually)
    node.cradle._socket.close()
    held = os.pidfd_open(node.cradle.pid)
    eventually(lambda: proc.read_stat(node.cradle.pid).dead, "the init has ended")
    os.close(held)
    if moment != "waiting":
        assert restored
        eventually(lambda: not rig.bench.mine(), "nothing of the job is left")


def test_a_restored_job_that_is_killed_whole_by_its_mark(rig, job, bench, eventually):
    """`fence` finds the init by OFFLOADING_TASK_ID, and the kernel ends the rest."""
    from offloader.launcher.fence import kill_marked

    node = rig.move(job.pid)
    mark = b"OFFLOADING_TASK_ID="
    entry = next(one for one in proc.environ(node.cradle.pid) if one.startswith(mark))
    killed, dead = kill_marked(os.fsdecode(entry.removeprefix(mark)), limit_s=10)
    assert (killed >= 1, dead) == (True, True)
    eventually(lambda: not bench.mine(), "nothing of the job is left")


def test_a_continue_that_is_repeated_changes_nothing(rig, job, witness, eventually):
    """The message is sent again when its answer is lost."""
    node = rig.move(job.pid)
    for _ in range(2):
        node.go_on()
    counts_on(witness, eventually)
    os.kill(node.leader(), signal.SIGTERM)
    assert node.ended()["signal"] == signal.SIGTERM
