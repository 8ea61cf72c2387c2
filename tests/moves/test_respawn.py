"""The respawn watch: what counts as the original's command coming back, and what does not."""

from types import SimpleNamespace

import pytest

from offloader.errors import JournalError
from offloader.jobs.store import Step
from offloader.model import Attempt, AttemptState, Capacity, Identity, Job, Move, MoveState, StrategyName
from offloader.moves.origin import Origin, fingerprint, recalled
from offloader.moves.plan import Timings
from offloader.moves.respawn import Newcomer, watch

WHO = Identity("boot", 7, 1, 1000, 1, 1)
MOVE = Move("m", "J", 0, 1, WHO, "head", "gpu1", StrategyName.RESTART, "ray", MoveState.DONE, 0, True, None, 1.0, 2.0)
ARGV, CWD = (b"python3", b"train.py", b"--key=hunter2"), b"/home/ann"
ORIGIN = Origin("ann:python3", Capacity(1.0), Capacity(1.0), fingerprint(1000, ARGV, CWD))


class Head:
    """Journal, clock and processes of the head in one; a second passes with every look."""

    timings = Timings(respawn_s=60, respawn_look_s=5)

    def __init__(self, *newcomers, at=10.0, steps=(MoveState.OWNED, MoveState.DONE), failures=0):
        self.store = self.clock = self
        self.now = at
        self.found = newcomers
        self.facts = {"origin": ORIGIN.document()}
        self.steps = steps
        self.held = ()
        self.failures = failures
        self.looks = []
        self.incidents = []
        self.on_incident = self.incidents.append

    def time(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds

    def fact(self, _move, key):
        if self.failures:
            self.failures -= 1
            raise JournalError("busy")
        return self.facts.get(key)

    def set_fact(self, _move, key, value):
        self.facts[key] = value

    def attempts(self, _job):
        return self.held

    def job(self, _job):
        return Job("J", "ann", 1000, "train.py", 1.0)

    def timeline(self, _move):
        return tuple(Step(10.0, state, None, "") for state in self.steps)

    async def newcomers(self, uid, within_s):
        self.looks.append((uid, within_s))
        return [one for one in self.found if one.age_s <= within_s]


def newcomer(**changes):
    return Newcomer(**{"pid": 9, "age_s": 3.0, "argv": ARGV, "cwd": CWD, "ours": False, **changes})


async def test_the_same_command_in_the_same_directory_is_told_of_once_and_quarantined():
    head = Head(newcomer())
    await watch(head, MOVE)
    await watch(head, MOVE)  # a restart of the controller begins it again
    (incident,) = head.incidents
    assert (incident.kind, incident.quarantine) == ("respawned", "ann:python3")
    assert "process 9 on head" in incident.detail
    assert "hunter2" not in incident.detail


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"argv": (b"python3", b"train.py")}, id="another command line"),
        pytest.param({"cwd": b"/home/ann/other"}, id="another directory"),
        pytest.param({"ours": True}, id="started by a move"),
        pytest.param({"age_s": 500.0}, id="it ran beside the original"),
    ],
)
async def test_others_are_not(other):
    head = Head(newcomer(**other))
    await watch(head, MOVE)
    assert head.incidents == []
    assert head.now == 70.0  # until the time is over
    assert {uid for uid, _ in head.looks} == {1000}


async def test_one_that_is_gone_at_a_second_look_is_none():
    """It was ours, being ended: without its memory a process has no environment, and so no mark."""
    head = Head(newcomer())

    async def ends(seconds):
        head.now += seconds
        head.found = ()

    head.sleep = ends
    await watch(head, MOVE)
    assert head.incidents == []
    assert head.now >= 70.0


async def test_the_job_itself_back_at_its_source_is_none():
    head = Head(newcomer())
    head.held = (Attempt("J", 2, "head", "local", None, 9, AttemptState.RUNNING, 11.0),)
    await watch(head, MOVE)
    assert head.incidents == []


async def test_after_its_time_nobody_looks_any_more():
    head = Head(newcomer(), at=71.0)
    await watch(head, MOVE)
    assert head.incidents == []


async def test_a_move_that_ended_no_original_watches_nothing():
    head = Head(newcomer(), steps=(MoveState.QUEUED,))
    await watch(head, MOVE)
    assert head.looks == []


async def test_a_journal_that_fails_delays_the_watch():
    head = Head(newcomer(), failures=2)
    await watch(head, MOVE)
    assert len(head.incidents) == 1


def test_what_is_kept_of_an_original_tells_neither_command_nor_directory_and_comes_back_the_same():
    head = Head()
    kept = str(head.facts)
    assert "hunter2" not in kept
    assert "/home/ann" not in kept
    assert recalled(SimpleNamespace(fact=lambda _move, _key: ORIGIN.document()), "m") == ORIGIN
    assert recalled(SimpleNamespace(fact=lambda _move, _key: None), "m") is None


def test_arguments_are_not_confused_with_one_another():
    assert fingerprint(1, (b"a", b"bc"), b"/") != fingerprint(1, (b"ab", b"c"), b"/")
