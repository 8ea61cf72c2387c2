"""Where a real process came from: its output file and its terminal, and nothing of one that is gone."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offloader.adapters.origin import origin_of
from offloader.adapters.processes import ProcessSource
from offloader.model import Candidate, Capacity


def job_of(pid):
    """A job of this one process."""
    process = ProcessSource().read(detail=True)[pid]
    return Candidate(process, (process,), "head", Capacity(), Capacity(), 0.0, restart_safe=False)


@pytest.fixture
def sleeper():
    running = []

    def start(**streams):
        child = subprocess.Popen(
            (sys.executable, "-c", "import time; time.sleep(60)"), start_new_session=True, **streams
        )
        running.append(child)
        return child

    yield start
    for child in running:
        child.kill()
        child.wait()


def test_the_file_that_its_output_goes_to(sleeper, tmp_path):
    with (tmp_path / "out.log").open("w") as out:
        child = sleeper(stdout=out)
    assert origin_of(job_of(child.pid)).log == str(tmp_path / "out.log")


def test_that_of_its_errors_where_its_output_goes_nowhere(sleeper, tmp_path):
    with (tmp_path / "err.log").open("w") as err:
        child = sleeper(stdout=subprocess.DEVNULL, stderr=err)
    assert origin_of(job_of(child.pid)).log == str(tmp_path / "err.log")


def test_a_deleted_file_a_pipe_and_a_device_are_no_place(sleeper, tmp_path):
    with (tmp_path / "out.log").open("w") as out:
        child = sleeper(stdout=out, stderr=subprocess.DEVNULL)
    job = job_of(child.pid)
    (tmp_path / "out.log").unlink()
    assert origin_of(job).log is None


def test_its_terminal(tmp_path):
    pid, master = pty.fork()
    if not pid:
        os.execv("/bin/sleep", ("sleep", "60"))
    try:
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < deadline
        tty = origin_of(job_of(pid)).tty
        assert (tty >> 8 & 0xFFF) == 136
        assert origin_of(job_of(pid)).log is None
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(master)


def test_of_a_process_that_is_gone_nothing_is_known(sleeper, tmp_path):
    with (tmp_path / "out.log").open("w") as out:
        child = sleeper(stdout=out)
    job = job_of(child.pid)
    child.kill()
    child.wait()
    assert origin_of(job).log is None
