"""The controller, or its line to the guard, stands still in the middle of a move: never two copies at once."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from offloader.model import MoveState

pytestmark = pytest.mark.slow

SETTLE_30_S = 600.0  # the age of a job whose successor has to settle for 30 s


def with_tools(world, **changes):
    """The same world, its moves with other tools."""
    world.mover._tools = replace(world.tools, **changes)


def bridges_to(directory: str) -> list[int]:
    """The processes that carry our words to the role in this directory."""
    wanted = [b"link", os.fsencode(directory)]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argv[-3:-1] == wanted:
                found.append(int(entry.name))
    return found


def aged(plan, age_s):
    return replace(plan, candidate=replace(plan.candidate, age_s=age_s))


async def one_copy_in_the_end(world):
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["running"]) == 1


async def test_a_controller_that_slept_past_the_watchdog_lets_no_successor_go(world):
    """Suspended between *saved* and *go*: the original runs again by then, so nothing else may start."""

    def sleep_once_saved(move, _before):
        if move.state is MoveState.SAVED:
            time.sleep(4)

    with_tools(world, timings=replace(world.tools.timings, contact_s=2.0), on_transition=sleep_once_saved)
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    ended = await world.final(move)
    assert ended.state is MoveState.ROLLED_BACK
    assert original.poll() is None
    assert {record["pid"] for record in world.witness.records} == {original.pid}
    await one_copy_in_the_end(world)


async def test_no_lease_is_granted_while_the_guard_hears_nothing(world):
    """The bridge to the guard hangs without breaking: the guard thaws, so the successor must have died before."""
    original = world.start_load()
    move = await world.mover.start(aged(world.plan(original.pid), SETTLE_30_S))
    await world.reached(move, "go")
    pids = bridges_to(world.tools.agents["head"].move_dir(move.id))
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    ended = await world.final(move, 90)
    assert ended.state is MoveState.ROLLED_BACK
    assert original.poll() is None
    await one_copy_in_the_end(world)
