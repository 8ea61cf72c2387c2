"""Restart: what it refuses, and how long a successor has to live before it counts as proven."""

import pytest

from offloader.model import Candidate, Capacity, Identity, Process, Reason
from offloader.strategies.restart import Restart


def process(pid: int, ppid: int, name: str = "work") -> Process:
    return Process(Identity("b", pid, 1, 1000, 0, 0), ppid, 10, 10, 0, "S", name, "ann", argv=(name.encode(),))


def candidate(*members: Process) -> Candidate:
    need = Capacity(cores=1)
    return Candidate(members[0], members, "head", need, need, age_s=100, restart_safe=True)


def test_a_tree_that_its_leader_started_may_be_run_again():
    tree = candidate(process(10, 1), process(11, 10), process(12, 11))
    assert Restart().obstacles(tree, {"argv": ["eA=="]}) == ()


def test_a_pipeline_of_siblings_is_refused_since_only_its_leader_would_come_back():
    pipeline = candidate(process(10, 1, "producer"), process(11, 1, "gzip"), process(12, 11, "child"))
    (obstacle,) = Restart().obstacles(pipeline, {"argv": ["eA=="]})
    assert obstacle.reason is Reason.NO_STRATEGY
    assert "gzip (11)" in obstacle.seen


def test_an_overwritten_command_line_is_refused():
    (obstacle,) = Restart().obstacles(candidate(process(10, 1)), {"argv": []})
    assert obstacle.reason is Reason.ARGV_REWRITTEN


@pytest.mark.parametrize(("age_s", "settle_s"), [(0, 5), (100, 5), (600, 30), (86400, 60)])
def test_the_settle_time_is_five_percent_of_the_age_within_five_and_sixty_seconds(age_s, settle_s):
    assert Restart().settle_s(age_s) == settle_s
