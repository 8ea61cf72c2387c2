"""Processes that are to be killed and may still be to come: hit at once, when they appear, or some time later."""

import signal
import subprocess
import sys
import time

import pytest
from _faults.ambush import Ambush


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_is_there_is_hit_at_once(sleeper):
    ambush = Ambush(lambda: {"it": [sleeper.pid]}, ["it"])
    assert ambush.hits == {"it"}
    assert sleeper.wait(10) == -signal.SIGKILL
    ambush.call_off()


def test_who_is_still_to_come_is_hit_then(sleeper):
    there = []
    ambush = Ambush(lambda: {"it": there}, ["it"])
    assert ambush.hits == set()
    there.append(sleeper.pid)
    assert sleeper.wait(10) == -signal.SIGKILL
    wait_for(lambda: not ambush.waits)
    assert ambush.hits == {"it"}
    ambush.call_off()


def test_who_ends_in_the_meantime_gets_away(sleeper):
    looks = iter([{"it": [sleeper.pid]}])
    ambush = Ambush(lambda: next(looks, {}), ["it"], after_s=0.2)
    wait_for(lambda: not ambush.waits)
    ambush.call_off()
    assert ambush.hits == set()
    assert sleeper.poll() is None


def test_called_off_nobody_is_killed_any_more(sleeper):
    there = []
    ambush = Ambush(lambda: {"it": there}, ["it"])
    ambush.call_off()
    there.append(sleeper.pid)
    assert sleeper.poll() is None
    assert ambush.hits == set()
