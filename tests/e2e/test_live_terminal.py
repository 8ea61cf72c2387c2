"""`run --local` at a terminal of the head: a program goes from node to node with it, while it prints and reads.

Everything is root's, who alone may take a process apart.
"""

import base64
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from _testbed import controller, leftovers

pytestmark = [pytest.mark.testbed, pytest.mark.ray, pytest.mark.criu, pytest.mark.timeout(300)]

PROJECT = Path(__file__).resolve().parent.parent.parent
PYTHON = PROJECT / ".venv/bin/python"
DESK = Path(__file__).resolve().parent / "live_programs/desk.py"
PROGRAM = """
import os, signal, sys, threading, time
turn = threading.Lock()
def write(data):
    with turn:
        while data:
            data = data[os.write(1, data) :]
def interrupted(*_):
    os.write(1, b"interrupted at %s\\n" % os.uname().nodename.encode())
    os._exit(3)
signal.signal(signal.SIGINT, interrupted)
signal.signal(signal.SIGWINCH, lambda *_: os.write(1, b"size %d by %d\\n" % os.get_terminal_size()[::-1]))
def count():
    n = 0
    while True:
        n += 1
        write(b"<%d>\\n" % n)
        time.sleep(0.02)
threading.Thread(target=count, daemon=True).start()
os.write(1, b"pid %d.\\n" % os.getpid())
for line in sys.stdin:
    write(b"heard %s at %s\\n" % (line.strip().encode(), os.uname().nodename.encode()))
sys.exit(5)
"""


class Desk:
    """A shell on a terminal of the head, with everything that was ever shown on it."""

    def __init__(self, controlled) -> None:
        bed = controlled.bed
        line = [PROJECT / "deploy/testbed", "exec", "gpu-master", "--cwd", bed.shared, "--", sys.executable, DESK]
        self._process = subprocess.Popen(list(map(str, line)), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._typed = 0
        self._seen = 0
        self.shown = b""
        self.until(rb"prompt> ")
        self.type(f"export GRID_OFFLOADER_SOCKET={controller.inside(controlled.settings)}/run/control.sock\n")
        self.until(rb"prompt> ")

    def type(self, keys) -> None:
        self._say(keys=base64.b64encode(keys.encode() if isinstance(keys, str) else keys).decode())

    def resize(self, rows, columns) -> None:
        self._say(size=[rows, columns])

    def says(self, node, seconds=20) -> None:
        """A line is read, by a program on that node."""
        self._typed += 1
        self.type(f"line-{self._typed}\n")
        self.until(b"heard line-%d at %s\r\n" % (self._typed, node.encode()), seconds)

    def keep_talking(self, stop) -> None:
        while not stop.wait(0.1):
            self._typed += 1
            self.type(f"line-{self._typed}\n")

    def until(self, pattern, seconds=30):
        """Wait for that behind what was waited for before. Returns the match."""
        deadline = time.monotonic() + seconds
        with self._news:
            while (found := re.compile(pattern).search(self.shown, self._seen)) is None:
                left = deadline - time.monotonic()
                assert left > 0, f"{pattern!r} did not come; shown last: {self.shown[-2000:]!r}"
                self._news.wait(left)
            self._seen = found.end()
        return found

    def contiguous(self) -> None:
        """What it wrote, and what was read by it, was there once and in order."""
        shown = re.sub(rb"\r\n\[grid-offloader: [^]]*\]\r\n", b"", self.shown)
        counted = [int(one) for one in re.findall(rb"<(\d+)>", shown)]
        heard = [int(one) for one in re.findall(rb"heard line-(\d+) at", shown)]
        assert counted == list(range(1, len(counted) + 1))
        assert heard == list(range(1, self._typed + 1))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)
        self._reader.join(20)
        self._process.stdout.close()

    def _say(self, **request) -> None:
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        while data := self._process.stdout.read1(65536):
            with self._news:
                self.shown += data
                self._news.notify_all()


@pytest.fixture
def desk(ready):
    made = Desk(ready)
    yield made
    made.close()


def started(desk) -> int:
    """`run --local -- python -c …`; the pid of that program."""
    program = base64.b64encode(PROGRAM.encode()).decode()
    code = f"import base64; exec(base64.b64decode('{program}'))"
    desk.type(f'{controller.COMMAND} run --local -- {PYTHON} -c "{code}"\n')
    return int(desk.until(rb"pid (\d+)\.")[1])


def moved(desk, controlled, *command, to):
    """While it prints and reads. Returns the move."""
    stop = threading.Event()
    talking = threading.Thread(target=desk.keep_talking, args=(stop,))
    talking.start()
    try:
        move = controlled.go_live(*command)
    finally:
        stop.set()
        talking.join()
    desk.until(rb"\[grid-offloader: now on %s\]\r\n" % to.encode())
    desk.says(to)
    return move


def test_moved_twice_it_is_stopped_continued_resized_and_interrupted_where_it_is(ready, desk):
    pid = started(desk)
    desk.says("gpu-master")
    move = moved(desk, ready, "move", str(pid), "--strategy", "live", "-t", "gpu1", to="gpu1")
    desk.resize(33, 101)
    desk.until(rb"size 33 by 101")
    moved(desk, ready, "bring", move["id"], "-t", "gpu2", to="gpu2")
    desk.type(b"\x1a")
    desk.until(rb"Stopped")
    desk.until(rb"prompt> ")
    desk.type("echo at-$((1+1))-shell\n")
    desk.until(rb"at-2-shell\r\n")
    desk.resize(40, 120)
    desk.type("fg\n")
    for _ in range(2):  # a signal that came while it was stopped is any thread's, Python's by then
        desk.says("gpu2")
    assert b"size 40 by 120" in desk.shown
    desk.type(b"\x03")
    desk.until(rb"interrupted at gpu2")
    exits(desk, ready, move, code=3)


def test_home_again_it_ends_with_its_exit_code(ready, desk):
    pid = started(desk)
    move = moved(desk, ready, "move", str(pid), "--strategy", "live", "-t", "gpu1", to="gpu1")
    moved(desk, ready, "bring", move["id"], to="gpu-master")
    desk.type(b"\x04")
    exits(desk, ready, move, code=5)


def test_it_stays_connected_over_the_death_of_the_controller_and_a_cut_cable(ready, desk):
    pid = started(desk)
    move = moved(desk, ready, "move", str(pid), "--strategy", "live", "-t", "gpu1", to="gpu1")
    ready.kill()
    desk.says("gpu1")
    ready.restart()
    desk.says("gpu1")
    ready.bed.partition("gpu1")
    desk.type("while-away\n")
    desk.until(rb"no contact with gpu1", 90)
    ready.bed.heal("gpu1")
    desk.until(rb"heard while-away at gpu1", 90)
    desk.says("gpu1")
    desk.type(b"\x03")
    desk.until(rb"interrupted at gpu1")
    exits(desk, ready, move, code=3)


def exits(desk, controlled, move, *, code) -> None:
    """To the shell and to the controller; everything was shown and read once, in order."""
    desk.until(rb"prompt> ")
    desk.type("echo code-$?\n")
    desk.until(b"code-%d\r\n" % code)
    desk.contiguous()
    over = ended(controlled, move)
    assert (over["job_state"], over["exit_code"]) == ("failed", code), over


def ended(controlled, move):
    """The job is known to be over, and of everything that led to its terminal nothing is left."""

    def over():
        found = controlled.move(move["id"])
        return found if found["job_state"] not in {"running", "unknown", None} else None

    found = controlled.bed.wait_for(over, 60, "its job to be over")

    def gone():
        mark = f"/attempts/{found['job']}."
        return not [line for line in leftovers.launchers_on(controlled.settings) if mark in line]

    controlled.bed.wait_for(gone, 60, "each of its launchers to end")
    return found
