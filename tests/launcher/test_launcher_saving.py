"""A job that is asked to save its state and end: what it is told, what its end means, and whoever dies meanwhile."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from offloader.launcher import exits, pidfds, proc
from offloader.launcher.wire import pack_bytes

pytestmark = pytest.mark.slow

PYTHON = "/usr/bin/python3"

# Counts until it is asked; then it writes its state, as told by its arguments, and ends with that exit code.
SAVING = """
import os, signal, sys, time
state, code, delay = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
asked = False
def ask(*_):
    global asked
    asked = True
signal.signal(signal.SIGUSR1, ask)
up()
while not asked:
    time.sleep(0.01)
time.sleep(delay)
if state:
    with open(state + ".new", "w") as stream:
        stream.write("state")
    os.rename(state + ".new", state)
sys.exit(code)
"""


def saver(bench, state="", code=85, delay=0.0, **options):
    """The program, and a thread of the test's own that reaps it at once, as a shell would."""
    return bench.python(SAVING, str(state), str(code), str(delay), **options)


def asked(bench, pids, **how):
    """Its guard, which has just been asked."""
    directory, guard = bench.guard(pids)
    link = bench.link(directory, hello="armed")
    link.send(do="checkpoint", **{"signal": int(signal.SIGUSR1), "grace_s": 10.0, "file": None, **how})
    return directory, guard, link


@pytest.mark.parametrize("reaped", [True, False])
def test_exit_code_85_says_that_it_saved(bench, reaped):
    """Also where its parent has long taken the exit code, or never will."""
    process = saver(bench)
    directory, _, link = asked(bench, [process.pid])
    if reaped:
        assert process.wait(10) == 85
    event = link.expect("saved")
    assert event in (
        {"event": "saved", "how": "exit_85", "exit_code": 85, "signal": None},
        {"event": "saved", "how": "unseen", "exit_code": None, "signal": None},
    )
    assert event["how"] == "exit_85" or not tells_exit_codes()
    assert state_of(directory) == "saved"


def tells_exit_codes():
    """Whether this kernel tells the exit code of a process that is reaped already (Linux 6.15)."""
    with subprocess.Popen([PYTHON, "-c", "import sys; sys.exit(7)"]) as child:
        stat = proc.read_stat(child.pid)
        held = pidfds.Held(child.pid, stat.start_ticks, os.pidfd_open(child.pid))
        child.wait()
    status = exits.wait_status(held)
    held.close()
    assert status in (None, 7 << 8)
    return status is not None


def test_the_exit_code_of_a_process_that_waits_for_its_parent_is_told(bench):
    process = bench.start([PYTHON, "-c", "raise SystemExit(9)"])
    held = pidfds.Held(process.pid, proc.read_stat(process.pid).start_ticks, os.pidfd_open(process.pid))
    assert held.wait(10)
    assert os.waitstatus_to_exitcode(exits.wait_status(held)) == 9
    held.close()


def test_a_program_that_always_ends_with_0_says_it_by_a_fresh_file(bench):
    state = bench.root / "state"
    state.write_text("an older one")
    process = saver(bench, state, code=0)
    _, _, link = asked(bench, [process.pid], file=pack_bytes(os.fsencode(state)))
    process.wait(10)
    assert link.expect("saved")["how"] == "file"


def test_one_that_ends_with_0_and_left_no_fresh_file_has_simply_ended(bench):
    """It was at its end when it was asked: it is not run again."""
    state = bench.root / "state"
    state.write_text("an older one")
    process = saver(bench, code=0)
    directory, _, link = asked(bench, [process.pid], file=pack_bytes(os.fsencode(state)))
    process.wait(10)
    if tells_exit_codes():
        event = link.expect("gone")
        assert (event["how"], event["exit_code"]) == ("completed", 0)
        assert state_of(directory) == "gone"


def test_one_that_fails_to_save_says_so_and_is_to_be_run_again(bench):
    process = saver(bench, code=1)
    _, _, link = asked(bench, [process.pid])
    process.wait(10)
    if tells_exit_codes():
        event = link.expect("saved")
        assert (event["how"], event["exit_code"]) == ("failed", 1)


def test_one_that_ended_before_it_was_asked_is_gone(bench, eventually):
    process = saver(bench)
    directory, _ = bench.guard([process.pid])
    link = bench.link(directory, hello="armed")
    process.kill()
    process.wait(10)
    link.send(do="checkpoint", signal=int(signal.SIGUSR1))
    eventually(lambda: state_of(directory) == "gone")
    link.expect("gone")


def test_one_that_its_owner_ends_meanwhile_is_gone(bench, eventually):
    process = saver(bench, delay=60)
    directory, _, link = asked(bench, [process.pid])
    eventually(lambda: state_of(directory) == "saving")
    process.terminate()
    process.wait(10)
    if tells_exit_codes():
        event = link.expect("gone")
        assert (event["how"], event["signal"]) == ("ended", signal.SIGTERM)


def test_what_does_not_handle_the_signal_is_never_sent_it(bench):
    """It would end it."""
    process = bench.sleeper()
    directory, _, link = asked(bench, [process.pid])
    failed = link.expect("failed")
    assert (failed["do"], failed["reason"]) == ("checkpoint", "NO_CHECKPOINT")
    assert "SIGUSR1" in failed["detail"]
    assert process.poll() is None
    assert state_of(directory) == "armed"


def test_a_handler_in_a_child_is_enough_and_its_script_passes_the_code_on(bench, eventually):
    """The shell that runs a script need not know of it."""
    inner = bench.root / "inner.py"
    inner.write_text("def up():\n    open(" + repr(str(bench.root / "inner.up")) + ", 'w').close()\n" + SAVING)
    script = bench.root / "job.sh"
    script.write_text(f"set -e\n{PYTHON} {inner} '' 85 0\necho never >{bench.root}/after\n")
    process = bench.start(["/bin/bash", str(script)])
    eventually((bench.root / "inner.up").exists)
    _, _, link = asked(bench, [process.pid])
    assert process.wait(10) == 85
    assert link.expect("saved")["how"] in ("exit_85", "unseen")
    assert not (bench.root / "after").exists()


def test_what_its_leader_leaves_behind_does_not_run_on(bench):
    """Or there would be two of it once its successor starts."""
    program = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
    process = bench.python(program + SAVING, "", "85", "0")
    _, _, link = asked(bench, [process.pid])
    process.wait(10)
    link.expect("saved")
    assert [pid for pid in bench.mine() if b"sleep(1000)" in Path(f"/proc/{pid}/cmdline").read_bytes()] == []


def test_one_that_is_late_goes_on_and_its_end_is_told_whenever_it_comes(bench, eventually):
    """Who asked it is told that the grace is over; the guard stays, and so does its answer."""
    process = saver(bench, delay=1.5)
    directory, _, link = asked(bench, [process.pid], grace_s=0.3)
    failed = link.expect("failed")
    assert (failed["do"], failed["reason"]) == ("checkpoint", "NOT_SAVED")
    link.send(do="thaw")
    assert link.expect("saving") == {"event": "saving"}
    assert process.poll() is None
    link.close()
    process.wait(10)
    eventually(lambda: state_of(directory) == "saved")
    bench.link(directory, hello="saved")


def test_nothing_else_is_done_to_a_job_that_is_saving(bench):
    process = saver(bench, delay=60)
    _, _, link = asked(bench, [process.pid])
    for do, reason in (
        ("hold", "WATCHDOG_LOST"),
        ("end", "NOT_FROZEN"),
        ("record", "NOT_FROZEN"),
        ("quit", "STILL_FROZEN"),
    ):
        link.send(do=do)
        assert link.expect("failed")["reason"] == reason
    link.send(do="freeze")
    link.expect("saving")
    assert process.poll() is None


def test_what_has_saved_never_runs_again_which_is_all_that_hold_and_end_promise(bench):
    process = saver(bench)
    _, _, link = asked(bench, [process.pid])
    process.wait(10)
    link.expect("saved")
    link.send(do="hold")
    link.expect("holding")
    link.send(do="checkpoint", signal=int(signal.SIGUSR1))
    link.expect("saved")
    link.send(do="end")
    link.expect("ended")


def test_guard_and_keeper_killed_the_next_guard_goes_on_waiting(bench, eventually):
    """The signal is not sent twice: to many programs a second one means hurry."""
    program = SAVING.replace("    asked = True\n", "    asked = True\n    os.write(1, b'asked ')\n")
    output = bench.root / "output"
    with output.open("wb") as stream:
        process = bench.python(program, "", "85", "1.5", stdout=stream)
    directory, *_ = asked(bench, [process.pid])
    eventually(lambda: output.read_bytes() == b"asked ")
    for pid in bench.roles(directory):
        os.kill(pid, signal.SIGKILL)
    process.wait(10)
    assert bench.verb("guard", directory)["guard_pid"]
    eventually(lambda: state_of(directory) == "saved")
    assert output.read_bytes() == b"asked "


WAITING = """
import ctypes, os, signal, struct, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
mask = (ctypes.c_ulong * 16)()
mask[0] = 1 << signal.SIGUSR1 - 1
descriptor = ctypes.CDLL(None).signalfd(-1, mask, 0)
up()
info = os.read(descriptor, 128)
sys.exit(struct.unpack_from("=i", info, 44)[0])
"""
"""Waits for the signal by signalfd(2), and ends with the number that came with it (`ssi_int`)."""


def test_its_grace_comes_with_the_signal(bench):
    process = bench.python(WAITING)
    _, _, link = asked(bench, [process.pid], grace_s=85.9)
    assert process.wait(10) == 85
    assert link.expect("saved")["how"] in ("exit_85", "unseen")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"signal": 9}, {"signal": 0}, {"signal": "USR1"}, {"signal": True}, {"grace_s": -1}, {"grace_s": 1e9}),
        *({"file": "not base64!"}, {"file": pack_bytes(b"relative")}, {"file": 7}),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_and_nothing_is_sent(bench, wrong):
    process = saver(bench)
    _, _, link = asked(bench, [process.pid], **wrong)
    failed = link.expect("failed")
    assert failed["reason"] == "BAD_MESSAGE"
    assert next(iter(wrong)) in failed["detail"]
    assert process.poll() is None


def state_of(directory):
    return json.loads((directory / "state.json").read_text())["state"]
