"""`job; touch X` in an interactive shell, moved by its owner and taken back: the shell never notices."""

import asyncio
import os
import pty
import signal
import subprocess

import pytest
from moves_world import LOAD, PERIOD_S, wait_for

from offloader.model import MoveState, Reason

pytestmark = [pytest.mark.slow, pytest.mark.root]  # without root a job below a shell is not frozen at all


@pytest.fixture
def waiting(world):
    """The pid of a job in the foreground of a shell that goes on with `touch X` the moment it stops or ends."""
    terminal, inner = pty.openpty()
    shell = subprocess.Popen(
        ["setsid", "--ctty", "bash", "--norc", "--noprofile", "-i"],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        cwd=world.root,
        env={"PATH": os.environ["PATH"], "HISTFILE": ""},
    )
    os.close(inner)
    world.children.append(shell)
    job = f"/usr/bin/python3 {LOAD} --cpu=0.2 --witness={world.witness.path} --period={PERIOD_S}"
    os.write(terminal, f"{job}; touch X\n".encode())
    wait_for(lambda: bool(world.witness.records), 20)
    yield world.witness.records[0]["pid"]
    os.close(terminal)


@pytest.mark.parametrize("state", ["frozen", "go"])
async def test_a_shell_that_waits_does_not_go_on_when_a_move_of_its_job_is_taken_back(world, waiting, state):
    move = await world.mover.start(world.plan(waiting))
    await world.reached(move, state)
    await world.mover.cancel(move.id, by_uid=0)
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.CANCELLED)
    before = len(world.witness.records)
    await asyncio.sleep(0.6)
    assert {record["pid"] for record in world.witness.records[before:]} == {waiting}
    assert world.witness.report()["overlaps"] == 0
    assert not (world.root / "X").exists()
    os.kill(waiting, signal.SIGKILL)
    wait_for((world.root / "X").exists, 10)  # it did wait all the time
