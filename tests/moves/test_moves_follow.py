"""What becomes of a job that was followed: told as it was, not as it was wished."""

from types import SimpleNamespace

import pytest

from offloader.model import Attempt, AttemptState, Job, JobState
from offloader.moves.follow import Follower
from offloader.moves.link import LinkLost
from offloader.moves.plan import Timings


class Unreachable:
    """A worker that is out of reach at first, and whose job has ended by itself when it is back."""

    def attempt_dir(self, job, epoch):
        return f"/attempts/{job}.{epoch}"

    def forget(self):
        pass

    async def link(self, _directory):
        raise LinkLost("nothing listens")

    async def verb(self, *_arguments):
        return {"state": "exited", "exit_code": 0, "signal": None}


class Saved:
    """Keeps nothing."""

    def save_attempt(self, _attempt):
        pass

    def save_job(self, _job):
        pass

    def drop(self, _job):
        pass


async def test_a_job_whose_end_was_asked_for_in_vain_is_not_called_cancelled():
    """The worker was out of reach: the job went on and succeeded."""
    tools = SimpleNamespace(
        agents={"worker": Unreachable()},
        timings=Timings(),
        clock=SimpleNamespace(time=lambda: 2.0),
        store=Saved(),
        capsules=Saved(),
    )
    attempt = Attempt("JOB", 1, "worker", "fake", "JOB-1", 7, AttemptState.RUNNING, 1.0)
    follower = Follower(Job("JOB", "ann", 1000, "work", 1.0), attempt, tools)
    with pytest.raises(LinkLost):
        await follower.stop(15, 1.0)
    assert (await follower.run()).state is JobState.SUCCEEDED
