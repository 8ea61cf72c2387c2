"""The controller's end of the guard: what it asks again after a lost answer."""

import asyncio
import os

import pytest

from offloader.moves.guarding import Guard

pytestmark = pytest.mark.slow


async def test_hold_is_lifted_also_when_the_watchdog_has_found_changed_files_since_the_answer_was_lost(world):
    """Else the move would ask for ever, and the original stay frozen."""
    original = world.start_load()
    plan = world.plan(original.pid)
    move = world.mover._create(plan)
    agent = world.tools.agents["head"]
    guard = Guard(agent, move, world.tools.timings)
    await guard.arm([member.identity for member in plan.candidate.members])
    try:
        await guard.freeze()
        await guard.record_files()
        await guard.hold()
        await guard.unhold()
        os.truncate(world.root / "load.out", 0)
        await guard._linked().send({"do": "alive", "for_s": 0})
        async with asyncio.timeout(10):
            while (await agent.verb("status", agent.move_dir(move.id)))["state"] != "changed":
                await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await guard.unhold()
        assert await guard.thaw()
    finally:
        await guard.end()
        await guard.quit()
    assert original.wait(5) < 0
