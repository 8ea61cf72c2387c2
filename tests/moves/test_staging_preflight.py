"""Preflight for a job whose working directory the target does not have: what staging mends, and what it does not."""

import subprocess

import pytest
from moves_world import candidate_of, wait_for

from offloader.model import Capacity, Move, MoveState, Reason, StrategyName
from offloader.moves.plan import MovePlan
from offloader.moves.preflight import Preflight
from offloader.strategies import STRATEGIES

pytestmark = pytest.mark.root

PROGRAM = """
import sys, time
data, log = open("in.csv"), open(sys.argv[1], "a")
open("up", "w").close()
time.sleep(600)
"""


@pytest.fixture
def job(others):
    """Reads a file and writes one in its working directory, and its output goes there, too."""
    others.write("in.csv", "1")
    others.write("job.py", PROGRAM)
    with others.write("out.log", "").open("ab") as out:
        child = subprocess.Popen(
            ["/usr/bin/python3", "job.py", "own.log"],
            cwd=others.here,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            user=others.uid,
            group=others.gid,
            extra_groups=[],
            start_new_session=True,
        )
    try:
        wait_for((others.here / "up").exists, 20)
        yield child
    finally:
        child.kill()
        child.wait()


def plan_and_move(pid: int, **changes) -> tuple[MovePlan, Move]:
    candidate = candidate_of(pid)
    plan = MovePlan(candidate, "gpu1", StrategyName.RESTART, None, False, 0, Capacity(cores=4), **changes)
    move = Move(
        id="offload_1_2",
        job="JOB1",
        from_epoch=0,
        to_epoch=1,
        identity=candidate.identity,
        source="head",
        target="gpu1",
        strategy=StrategyName.RESTART,
        backend="fake",
        state=MoveState.PLANNED,
        requested_by=0,
        automatic=False,
        rule=None,
        created_t=0.0,
        updated_t=0.0,
    )
    return plan, move


def preflight(world, *, allowed: bool = True) -> Preflight:
    staging = world.staging(enabled=allowed)
    return Preflight(world.agents, {one.name: one for one in STRATEGIES}, {}, staging)


async def test_what_lies_in_the_directory_is_no_obstacle_once_it_is_copied(others, job):
    plan, move = plan_and_move(job.pid)
    found = await preflight(others).examine(plan, move)
    assert found.obstacles == ()
    assert found.staged is not None
    assert found.streams == {"0": "null", "1": "file", "2": "file"}
    assert any("its results come back" in note for note in found.notes)
    assert list((others.root / "worker-home").iterdir()) == []


@pytest.mark.parametrize(
    ("allowed", "asked", "staged"), [(False, None, False), (True, False, False), (False, True, True)]
)
async def test_a_move_may_ask_for_it_or_forbid_it(others, job, allowed, asked, staged):
    plan, move = plan_and_move(job.pid, stage=asked)
    found = await preflight(others, allowed=allowed).examine(plan, move)
    assert (found.staged is not None) is staged
    assert (Reason.NO_DIRECTORY in {one.reason for one in found.obstacles}) is not staged


async def test_what_lies_elsewhere_stays_an_obstacle(others):
    """The target of a link that leads out of the directory is not copied, and is missed before anything is."""
    others.write("job.py", PROGRAM)
    (others.here / "in.csv").symlink_to(others.write("data.csv", "1", others.root / "home/elsewhere"))
    child = subprocess.Popen(
        ["/usr/bin/python3", "job.py", "own.log"],
        cwd=others.here,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=others.uid,
        group=others.gid,
        extra_groups=[],
        start_new_session=True,
    )
    try:
        wait_for((others.here / "up").exists, 20)
        plan, move = plan_and_move(child.pid)
        found = await preflight(others).examine(plan, move)
    finally:
        child.kill()
        child.wait()
    assert {one.reason for one in found.obstacles} == {Reason.NO_FILE}
    assert all("data.csv" in one.seen for one in found.obstacles)
