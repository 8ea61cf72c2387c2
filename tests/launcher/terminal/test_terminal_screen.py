"""A job's terminal at its launcher, without the job: what is said of it to whoever watches."""

import os
import select
import selectors
import signal
import subprocess
import time

import pytest

from offloader.launcher.socket_path import connect
from offloader.launcher.terminal.door import Door
from offloader.launcher.terminal.lasting import LIMIT_BYTES, Lasting
from offloader.launcher.terminal.screen import NAME, Screen
from offloader.launcher.wire import encode

LIMIT_S = 20


@pytest.fixture
def screen(tmp_path):
    made = Screen(tmp_path, selectors.DefaultSelector(), lambda _number: None)
    made.open()
    yield made
    made.close()
    made._selector.close()


class Watcher:
    """The other end of its way; the launcher's loop turns as long as something is waited for."""

    def __init__(self, screen, folder):
        self.screen = screen
        self.lasting = Lasting()
        self.heard = []
        self.connection = connect(folder, NAME)
        self.connection.sendall(encode({"do": "tie"}))
        self.connection.setblocking(False)
        answer = b""
        while b"\n" not in answer:
            answer += self.received()
        assert answer.startswith(b'{"ready":true}\n')
        self.connection.sendall(self.lasting.greeting())
        self.take(answer.partition(b"\n")[2])

    def received(self):
        for key, mask in self.screen._selector.select(0.05):
            if isinstance(key.data, Door):
                key.data.serve(key.fileobj)
            else:
                self.screen.serve(key.fileobj, mask)
        try:
            return self.connection.recv(65536)
        except BlockingIOError:
            return b""

    def take(self, data):
        self.heard += self.lasting.hear(data)
        self.connection.sendall(self.lasting.unsaid())

    def until(self, enough):
        deadline = time.monotonic() + LIMIT_S
        while not enough(self.heard):
            assert time.monotonic() < deadline, f"that is all: {self.heard[-10:]}"
            self.take(self.received())


@pytest.fixture
def watcher(screen, tmp_path):
    made = Watcher(screen, tmp_path)
    yield made
    made.connection.close()


def test_a_stop_is_told_behind_what_was_written_before(screen, watcher):
    os.write(screen.slave, b"before\n")
    screen.stopped(signal.SIGTSTP)
    screen.goes_on()
    watcher.until(lambda heard: (b"c", b"") in heard)
    assert watcher.heard == [(b"o", b"before\r\n"), (b"p", bytes([signal.SIGTSTP])), (b"c", b"")]


def test_one_that_stops_and_goes_on_for_ever_does_not_fill_the_launcher(screen, watcher):
    """While others of the job write and nobody listens."""
    writing = subprocess.Popen(["yes", "in the background"], stdout=screen.slave)
    try:
        for _ in range(100):
            assert select.select([screen.master], [], [], LIMIT_S)[0], "it writes"
            screen.stopped(signal.SIGTSTP)
            screen.goes_on()
        watcher.until(lambda heard: heard.count((b"c", b"")) == 100)
    finally:
        writing.kill()
        writing.wait()
    before = watcher.heard[: len(watcher.heard) - watcher.heard[::-1].index((b"c", b""))]
    assert sum(len(payload) for _, payload in before) < 2 * LIMIT_BYTES
