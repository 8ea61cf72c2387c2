"""What becomes of a job that is followed: told as it was, not as it was wished; silence is never an end."""

from types import SimpleNamespace

import pytest

from offloader.errors import NodeUnreachable
from offloader.jobs.aftermath import Ending
from offloader.model import Attempt, AttemptState
from offloader.moves.follow import Follower
from offloader.moves.link import LinkLost
from offloader.moves.plan import Timings


class Worker:
    """A worker on which nothing listens; its verbs answer what the test says, one after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def attempt_dir(self, job, epoch):
        return f"/attempts/{job}.{epoch}"

    def forget(self):
        pass

    async def link(self, _directory):
        raise LinkLost("nothing listens")

    async def verb(self, verb, *_arguments):
        self.asked.append(verb)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    """Time passes only by sleeping."""

    def __init__(self):
        self.now = 0.0

    def time(self):
        return self.now

    boottime = time

    async def sleep(self, seconds):
        self.now += seconds


def following(worker):
    reached = []

    async def on_reach(why):
        reached.append(why)

    tools = SimpleNamespace(agents={"worker": worker}, timings=Timings(), clock=Clock())
    attempt = Attempt("JOB", 1, "worker", "fake", "JOB-1", 7, AttemptState.RUNNING, 1.0)
    return Follower(attempt, tools, on_reach), reached


EXITED = {"state": "exited", "exit_code": 0, "signal": None, "t": 5.0}
GONE = {"state": "owned", "launcher_alive": False}


async def test_a_job_whose_end_was_asked_for_in_vain_is_not_called_cancelled():
    """The worker was out of reach: the job went on and succeeded."""
    follower, _ = following(Worker(EXITED))
    with pytest.raises(LinkLost):
        await follower.stop(15, 1.0)
    ended = await follower.run()
    assert (ended.ending, ended.t) == (Ending.SUCCEEDED, 5.0)


async def test_a_node_out_of_reach_is_told_of_once_and_is_no_end():
    silence = [NodeUnreachable("no route")] * 20
    follower, reached = following(Worker(*silence, EXITED))
    assert (await follower.run()).ending is Ending.SUCCEEDED
    assert reached == ["no route", None]


async def test_a_job_has_vanished_only_when_a_fence_left_nothing():
    worker = Worker(GONE, {"dead": False, "killed": 1}, GONE, NodeUnreachable("cut"), GONE, {"dead": True, "killed": 1})
    follower, _ = following(worker)
    assert (await follower.run()).ending is Ending.VANISHED
    assert worker.asked == ["status", "fence"] * 3


async def test_a_node_that_knows_nothing_of_the_job_proves_nothing():
    """Another machine answers under that name, or a new disk: the old one may still run the job."""
    absent = {"state": "absent", "launcher_alive": False}
    worker = Worker(*[absent] * 12, EXITED)
    follower, reached = following(worker)
    assert (await follower.run()).ending is Ending.SUCCEEDED
    assert "fence" not in worker.asked
    assert "no record of the job" in reached[0]


async def test_a_job_whose_launcher_was_told_to_end_was_taken_away_not_failed():
    """Ray going down sends TERM; that is the node's end, not the job's result."""
    follower, _ = following(Worker({"state": "exited", "exit_code": None, "signal": 15, "taken": True}))
    ended = await follower.run()
    assert (ended.ending, "Ray" in ended.detail) == (Ending.VANISHED, True)
    known = {"state": "exited", "exit_code": None, "signal": 9, "taken": True, "detail": "it was killed around it"}
    follower, _ = following(Worker(known))
    ended = await follower.run()
    assert (ended.ending, ended.detail) == (Ending.VANISHED, "it was killed around it")
