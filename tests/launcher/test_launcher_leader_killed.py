"""A job that is killed while it is frozen: of several processes the others are the job, of one nothing is left."""

import os
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FAMILY = """
import os, signal, sys, time
child = os.fork()
if not child:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the kernel's, for a stopped group whose parent dies (setpgid(2))
    os.setpgid(0, 0)
    with open(sys.argv[1], "a") as stream:
        while True:
            stream.write(f"{os.getpid()}\\n")
            stream.flush()
            time.sleep(0.01)
up()
time.sleep(1000)
"""


@pytest.mark.parametrize("way", ["v1", "v2", "stop"])
def test_what_it_had_started_goes_on_after_a_thaw_and_nobody_may_take_it_for_gone(bench, eventually, tmp_path, way):
    """Gone would mean: start it again, beside what still runs."""
    witness = tmp_path / "witness"
    leader = bench.python(FAMILY, str(witness))
    eventually(lambda: witness.exists() and witness.stat().st_size > 0, "the child writes")
    child = int(witness.read_text().split()[0])
    directory, _ = bench.guard([leader.pid, child], ways=[way, "stop"])
    link = bench.link(directory, hello="armed")
    link.send(do="freeze")
    link.expect("frozen")
    os.kill(leader.pid, signal.SIGKILL)
    link.send(do="thaw")
    event = link.next()
    while event["event"] == "gone" and event.get("unasked"):  # it is told that the first one has ended
        event = link.next()
    assert event["event"] == "thawed"
    assert bench.verb("status", directory)["state"] == "thawed"
    before = witness.stat().st_size
    eventually(lambda: witness.stat().st_size > before, "the child goes on")
    assert Path(f"/proc/{child}").exists()
    link.send(do="end")
    assert link.expect("failed")["reason"] == "NOT_FROZEN"
    os.kill(child, signal.SIGKILL)


LARGE = """
memory = bytearray(600 << 20)  # takes a while to give back: its death is not over when the thaw is
up()
import time
time.sleep(1000)
"""


@pytest.mark.parametrize("way", ["v1", "v2", "stop"])
def test_one_whose_death_takes_its_time_is_gone_after_the_thaw_and_not_running(bench, way):
    """Thawed would mean that it goes on: nobody would start it again."""
    job = bench.python(LARGE)
    directory, _ = bench.guard([job.pid], ways=[way, "stop"])
    link = bench.link(directory, hello="armed")
    link.send(do="freeze")
    link.expect("frozen")
    os.kill(job.pid, signal.SIGKILL)
    link.send(do="thaw")
    link.expect("gone")
    assert bench.verb("status", directory)["state"] == "gone"


@pytest.mark.parametrize("way", ["v1", "v2", "stop"])
def test_one_that_died_with_its_guard_is_gone_also_where_somebody_thawed_its_cgroup(bench, eventually, way):
    """As when a container is ended and started again: thawed would mean that it goes on."""
    job = bench.sleeper()
    directory, _ = bench.guard([job.pid], ways=[way, "stop"])
    link = bench.link(directory, hello="armed")
    link.send(do="freeze")
    link.expect("frozen")
    for pid in (*bench.roles(directory), job.pid):
        os.kill(pid, signal.SIGKILL)
    for cgroup in map(Path, bench.cgroups()):
        for file, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (cgroup / file).exists():
                (cgroup / file).write_text(text)
    assert job.wait(10) == -signal.SIGKILL
    eventually(lambda: not bench.roles(directory))
    assert bench.verb("guard", directory)["guard_pid"]
    link = bench.link(directory, hello="gone")
    link.send(do="thaw")
    link.expect("gone")
    assert bench.cgroups() == []
