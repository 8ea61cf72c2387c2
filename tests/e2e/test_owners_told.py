"""Owners on the test bed: told on their terminal before a move, heard when they say keep, told where it went."""

import asyncio
import shlex
import stat
import time

import pytest
from _testbed import controller
from _testbed.settings import USERS

from offloader.client import Client

pytestmark = [pytest.mark.testbed, pytest.mark.ray]

NOTICE_S = 15
HEAD = "gpu-master"

# A person at a terminal: a shell on a pseudo terminal of his own; what he sees goes to a file.
PERSON = """
import os, pty, select, sys
typed, screen, end = sys.argv[1:]
pid, terminal = pty.fork()
if not pid:
    os.execv("/bin/bash", ["bash", "--norc", "-i"])
os.write(terminal, typed.encode() + b"\\n")
with open(screen, "ab", buffering=0) as seen:
    while not os.path.exists(end):
        if select.select([terminal], [], [], 0.2)[0]:
            seen.write(os.read(terminal, 4096))
"""


class Person:
    """alice, who starts one load in the background of her shell."""

    def __init__(self, bed, name):
        self.bed, self.name = bed, name
        self.output = bed.shared / f"{name}.out"
        self._screen, self._end = bed.shared / f"{name}.screen", bed.shared / f"{name}.end"
        ready = bed.shared / f"{name}.pid"
        load = [
            "/usr/bin/python3",
            str(bed.root / "bin/load.py"),
            f"--name={name}",
            "--cpu=0.4",
            f"--ready-file={ready}",
        ]
        # In parentheses: no child of the shell, which without control groups could not be stopped unnoticed.
        typed = f"(GRID_OFFLOAD=allow {shlex.join(load)} </dev/null >>{self.output} 2>&1 &)"
        person = shlex.join(["/usr/bin/python3", "-c", PERSON, typed, str(self._screen), str(self._end)])
        detached = f"exec setsid --fork {person} </dev/null >/dev/null 2>&1"
        bed.exec(HEAD, ["bash", "-c", detached], user="alice", cwd=str(bed.shared))
        bed.wait_for(ready.exists, 30, f"{name} to run")
        self.pid = int(ready.read_text())

    @property
    def screen(self):
        return self._screen.read_text(encoding="ascii") if self._screen.exists() else ""

    def waits_for(self, controlled, *words, seconds=120):
        """What stands on the screen, once all of these words do."""
        deadline = time.monotonic() + seconds
        while not all(word in self.screen for word in words):
            told = [event["message"] for event in events(controlled)[-8:]]
            assert time.monotonic() < deadline, f"no {words} on the screen: {self.screen}\nlately: {told}"
            time.sleep(0.3)
        return self.screen

    def leaves(self):
        self._end.touch()


@pytest.mark.timeout(500)
def test_keep_during_the_notice_keeps_it_and_without_it_the_owner_is_told_where_it_went(controlled):
    bed = controlled.bed
    rules = str(bed.root / "controller/rules.yml")
    times = {"check_interval": "2s", "cooldown": "2s", "initial_cooldown": "1s", "rule_files": [rules]}
    controlled.start(mode="auto", changes={"auto_offload": times, "owners": {"notice": f"{NOTICE_S}s"}})
    controlled.ready()
    controlled.ok("auto", "--enable", "--threshold", "cpu=50")
    people = []
    try:
        people.append(Person(bed, "staying"))
        whoever_says_keep_is_left_alone(controlled, people[0])
        bed.exec(HEAD, ["kill", "-9", str(people[0].pid)])
        people.append(Person(bed, "going"))
        whoever_says_nothing_is_told_where_it_went(controlled, people[1])
    finally:
        for person in people:
            person.leaves()


def whoever_says_keep_is_left_alone(controlled, alice):
    bed = controlled.bed
    alice.waits_for(controlled, "is going to be moved", f"grid-offloader keep {alice.pid}")
    status = controlled.status()
    [notice] = status["notices"]
    assert (notice["pid"], notice["user"]) == (alice.pid, "alice")
    assert 0 < notice["left_s"] <= NOTICE_S
    assert status["moves_in_flight"] == status["moves_recent"] == []
    assert "stays here until" in controlled.ok("keep", str(alice.pid), "--for", "1h")
    after = controlled.status()
    assert after["notices"] == []
    later = after["t"] + NOTICE_S + 10
    bed.wait_for(lambda: (now := controlled.status())["t"] > later and now, NOTICE_S + 60, "the time of the notice")
    after = controlled.status()
    assert after["rules"][0]["state"] in ("firing", "relieving"), "pressure lasts, or this proves nothing"
    assert after["moves_in_flight"] == after["moves_recent"] == []
    [job] = [one for one in controlled.json("scan", "--all") if one["pid"] == alice.pid]
    assert job["reason"] == "KEPT"
    controlled.one_copy("staying", on=HEAD)
    assert "was moved" not in alice.screen


def whoever_says_nothing_is_told_where_it_went(controlled, alice):
    bed = controlled.bed
    alice.waits_for(controlled, f"(pid {alice.pid}, alice) is going to be moved")
    assert controlled.status()["moves_recent"] == []
    screen = alice.waits_for(controlled, "was moved from gpu-master to", "logs -f offload_")
    [told] = controlled.json("status", "--mine")["moves"]
    assert f"was moved from gpu-master to {told['where']} and runs there" in screen
    assert told["automatic"] is True
    move = controlled.move(told["id"])
    [notice] = [
        one for one in events(controlled) if one["data"].get("kind") == "notice" and one["data"]["pid"] == alice.pid
    ]
    assert move["created_t"] - notice["t"] >= NOTICE_S
    controlled.one_copy("going", on=told["where"])
    beside = alice.output.with_name(alice.output.name + ".grid-offloader")
    bed.wait_for(lambda: beside.exists() and "was moved from" in beside.read_text(), 20, "the message beside the log")
    assert (beside.stat().st_uid, stat.S_IMODE(beside.stat().st_mode)) == (USERS["alice"], 0o600)


def events(controlled):
    return asyncio.run(Client(controller.socket(controlled.settings)).events(limit=1000))
