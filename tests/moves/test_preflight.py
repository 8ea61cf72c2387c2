"""Preflight over both ends, with real launchers and processes: every obstacle as data, and nothing touched."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from moves_world import candidate_of, rehearsed, wait_for

from offloader.errors import NodeUnreachable
from offloader.launcher.tokens import PREFIX
from offloader.model import Capacity, Reason

pytestmark = pytest.mark.slow

LOCKS = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
open("up", "w").close()
time.sleep(600)
"""


def everything(world) -> set[Path]:
    """All files but the launcher's own, which is placed once per version."""
    return {path for path in world.root.rglob("*") if not path.is_relative_to(world.root / "head" / "bin")} - set(
        (world.root / "worker").rglob("*")
    )


@pytest.fixture
def locker(world):
    """A job that holds a lock in a directory that both nodes see."""
    child = subprocess.Popen(
        ["/usr/bin/python3", "-c", LOCKS, str(world.root / "run.lock")],
        cwd=world.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    world.children.append(child)
    wait_for((world.root / "up").exists, 20)
    return child


async def test_a_movable_job_has_no_obstacle_and_nothing_is_left(world):
    load = world.start_load()
    await rehearsed(world, world.plan(load.pid))
    before = everything(world)
    found = await rehearsed(world, world.plan(load.pid))
    assert found.obstacles == ()
    assert found.streams == {"0": "null", "1": "file", "2": "file"}
    assert (world.root.stat().st_dev,) * 2 in found.shared
    assert everything(world) == before
    assert not list((world.root / "worker" / "attempts").glob("*"))
    assert not [path for path in world.root.rglob("*") if path.name.startswith(PREFIX.decode())]
    assert (world.journal.moves(), world.backend.entries) == ((), {})
    assert load.poll() is None


async def test_every_obstacle_is_listed_not_only_the_first(world, locker):
    greedy = replace(candidate_of(locker.pid), needs=Capacity(cores=0.1, memory_bytes=1 << 60))
    found = await rehearsed(world, world.plan(locker.pid, candidate=greedy))
    assert {one.reason for one in found.obstacles} == {Reason.LOCKED, Reason.NO_ROOM}
    assert all(one.seen and one.remedy for one in found.obstacles)


async def test_a_lock_that_the_target_sees_stops_the_move_before_anything_is_touched(world, locker):
    """The same preflight as in the dry run: rolled back with its reason, never submitted, never frozen."""
    move = await world.final(await world.mover.start(world.plan(locker.pid)))
    assert (move.state, move.reason) == ("rolled_back", Reason.LOCKED)
    assert world.backend.entries == {}
    assert "frozen" not in world.states(move)
    assert locker.poll() is None


async def test_a_target_that_cannot_be_reached_is_an_obstacle(world, monkeypatch):
    async def unreachable(*_, **__):
        raise NodeUnreachable("worker: no route to host")

    monkeypatch.setattr(world.hosts["worker"], "run", unreachable)
    (found,) = (await rehearsed(world, world.plan(world.start_load().pid))).obstacles
    assert (found.reason, "no route" in found.seen) == (Reason.TARGET_DOWN, True)
    assert not [path for path in world.root.rglob("*") if path.name.startswith(PREFIX.decode())]


async def test_a_target_that_the_backend_does_not_have_is_an_obstacle(world):
    """Its exporter and its sshd answer, its Ray does not: a submission would wait there for ever."""
    world.backend.dead.add(world.tools.agents["worker"].node.address)
    (found,) = (await rehearsed(world, world.plan(world.start_load().pid))).obstacles
    assert found.reason is Reason.TARGET_DOWN
    assert "fake does not list worker" in found.seen
    assert found.remedy == "start fake on worker"


async def test_a_backend_that_does_not_answer_is_an_obstacle(world):
    world.backend.down = True
    (found,) = (await rehearsed(world, world.plan(world.start_load().pid))).obstacles
    assert (found.reason, "does not answer" in found.seen) == (Reason.SUBMIT_FAILED, True)


async def test_a_process_that_is_gone_or_another_one_is_told_before_its_target_is_asked(world):
    load = world.start_load()
    plan = world.plan(load.pid)
    other = replace(plan.candidate.leader, identity=replace(plan.candidate.identity, start_ticks=1))
    (reused,) = (await rehearsed(world, replace(plan, candidate=replace(plan.candidate, leader=other)))).obstacles
    assert reused.reason is Reason.PID_REUSED
    load.kill()
    load.wait()
    (gone,) = (await rehearsed(world, plan)).obstacles
    assert (gone.reason, bool(gone.remedy)) == (Reason.NO_SUCH_PROCESS, True)
