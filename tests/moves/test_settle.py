"""What the end of a move means for its job, also when it is asked a second time after a crash."""

import pytest

from offloader.model import Attempt, AttemptState, Identity, Job, JobState, Move, MoveState, StrategyName
from offloader.moves.settle import settled

JOB = Job("J", "ann", 1000, "work.py", 1.0)
HERE = Attempt("J", 0, "head", "local", None, 7, AttemptState.RUNNING, 1.0)
THERE = Attempt("J", 1, "gpu1", "ray", None, 8, AttemptState.PENDING, 2.0)
AGAIN = Attempt("J", 2, "", "local", None, None, AttemptState.PENDING, 3.0)


def move(state):
    who = Identity("boot", 7, 1, 1000, 1, 1)
    return Move("m", "J", 0, 1, who, "head", "gpu1", StrategyName.RESTART, "ray", state, 0, True, None, 1.0, 2.0, "J-1")


@pytest.mark.parametrize(
    ("state", "attempts", "job_state", "attempt_states", "cared_for"),
    [
        pytest.param("done", (HERE, THERE), "running", ["ended", "running"], True, id="done: followed"),
        pytest.param("rolled_back", (HERE, THERE), "unknown", ["running", "ended"], False, id="the original goes on"),
        pytest.param(
            "rolled_back", (HERE, THERE, AGAIN), "running", ["running", "ended", "pending"], True, id="restarted"
        ),
        pytest.param("lost", (HERE, THERE), "lost", ["running", "ended"], False, id="lost"),
    ],
)
def test_job_and_attempts_are_brought_into_line(state, attempts, job_state, attempt_states, cared_for):
    found = settled(move(MoveState(state)), JOB, attempts, 9.0)
    present = {one.epoch: one for one in (*attempts, *found.changed)}
    assert (found.job.state, found.cared_for) == (JobState(job_state), cared_for)
    assert [present[epoch].state.value for epoch in sorted(present)] == attempt_states
    again = settled(move(MoveState(state)), found.job, [present[epoch] for epoch in sorted(present)], 10.0)
    assert (again.changed, again.cared_for) == ((), cared_for)


def test_a_job_that_is_over_stays_so():
    over = Job("J", "ann", 1000, "work.py", 1.0, JobState.SUCCEEDED)
    assert not settled(move(MoveState.DONE), over, (HERE, THERE), 9.0).cared_for
