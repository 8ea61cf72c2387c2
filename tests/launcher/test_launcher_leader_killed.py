"""A job of several processes whose first one is killed while all of it is frozen: the others are the job."""

import os
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FAMILY = """
import os, signal, sys, time
child = os.fork()
if not child:
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
