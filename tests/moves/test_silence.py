"""The line to the target goes silent without breaking, as after a partition."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from offloader.model import MoveState, Reason

pytestmark = pytest.mark.slow

AGE_S = 1200.0  # its successor has to settle for 60 s


def stop_bridge(directory: str) -> None:
    """SIGSTOP the process that carries the words of that role: nothing arrives any more, nothing breaks."""
    wanted = [b"link", os.fsencode(directory)]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            argv = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argv[-3:-1] == wanted:
            os.kill(int(process.name), signal.SIGSTOP)
            return
    raise AssertionError(f"nothing bridges to {directory}")


async def test_a_silent_target_does_not_keep_an_old_job_frozen_for_its_whole_settle_time(world):
    """Its successor ended itself with the lease; waiting on for a proof would only keep the original frozen."""
    original = world.start_load()
    plan = world.plan(original.pid)
    move = await world.mover.start(replace(plan, candidate=replace(plan.candidate, age_s=AGE_S)))
    await world.reached(move, "go")
    async with asyncio.timeout(20):
        while len(world.witness.report()["chain"]) < 2:
            await asyncio.sleep(0.05)
    silent = time.monotonic()
    stop_bridge(world.tools.agents["worker"].attempt_dir(move.job, 1))
    ended = await world.final(move, 90)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.LINK_LOST)
    assert time.monotonic() - silent < 40
    assert original.poll() is None
    await asyncio.sleep(1.2)
    report = world.witness.report()
    assert report["overlaps"] == 0
    assert len(report["running"]) == 1
