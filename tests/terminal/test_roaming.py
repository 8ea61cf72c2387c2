"""What the stub answers to whoever moves its job: only what is so, and nothing that would make it let go too early."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offloader.terminal.endpoint import Ended, Size
from offloader.terminal.local_pty import LocalPty
from offloader.terminal.roaming import Roaming

PROJECT = Path(__file__).resolve().parents[2]
LAUNCHER = [sys.executable, "-m", "offloader.launcher"]


class Job:
    """A job of ours on a terminal, which the test reads while somebody asks."""

    def __init__(self) -> None:
        self.name = f"local_{int(time.time())}_{os.getpid()}"
        here = LocalPty([b"cat"], dict(os.environb), name=self.name, size=Size(24, 80))
        self.pid = here.pid
        self.endpoint = Roaming(here, self.name, Size(24, 80), os.getuid())
        self.shown = b""

    def ask(self, **request):
        """By the launcher's verb."""
        line = [*LAUNCHER, "terminal", f"{os.getuid()}/{self.name}"]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) as asking:
            asking.stdin.write(json.dumps(request).encode())
            asking.stdin.close()
            while asking.poll() is None:
                self.shown += self.endpoint.read() if self.endpoint is not None else b""
                time.sleep(0.005)
            return json.loads(asking.stdout.read())

    def close(self):
        self.endpoint.close()
        self.endpoint = None

    def until(self, condition):
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, self.shown
            self.shown += self.endpoint.read()
            time.sleep(0.005)


@pytest.fixture
def job():
    made = Job()
    yield made
    if made.endpoint is not None:
        made.endpoint.signal(9)
        made.until(lambda: isinstance(made.endpoint.state(), Ended))
        made.close()


def test_it_says_which_process_its_job_is_and_on_which_terminal(job):
    answer = job.ask(do="look")
    found = Path(f"/proc/{job.pid}/fd/0").stat()
    device = f"{found.st_rdev:x}:{found.st_dev:x}"
    assert answer == {"pid": job.pid, "device": device, "stopped": False}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"do": "yield", "move": "offload_1_2"}, "NOT_FROZEN"),
        ({"do": "tie", "job": "J", "epoch": "1", "node": "gpu1"}, "NOT_YET"),
        ({"do": "over", "exit_code": 0}, "NOT_YET"),
        ({"do": "let go"}, "BAD_MESSAGE"),
    ],
)
def test_a_job_that_runs_here_stays_here_whatever_is_said(job, request_, code):
    assert job.ask(**request_)["error"] == code
    job.endpoint.write(b"still\n")
    job.until(lambda: job.shown.endswith(b"still\r\nstill\r\n"))


def test_a_move_that_came_to_nothing_does_not_end_a_job_that_runs(job):
    assert job.ask(do="stays", move="offload_1_2") == {"stays": True}
    assert job.endpoint.state() is None


def test_one_that_is_killed_without_a_move_has_ended(job):
    os.kill(job.pid, 9)
    job.until(lambda: job.endpoint.state() == Ended(signal=9))


def test_nobody_is_there_once_it_has_ended(job):
    os.kill(job.pid, 9)
    job.until(lambda: job.endpoint.state() is not None)
    job.close()
    assert job.ask(do="look")["error"] == "NOT_RUNNING"
