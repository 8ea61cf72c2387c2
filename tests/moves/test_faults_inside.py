"""Faults of our own parts in the middle of a move: one copy goes on, and the move comes to an end."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL
from dataclasses import replace
from pathlib import Path

import pytest
from moves_world import Witness, World, build, candidate_of

from offloader.adapters.journal import Journal
from offloader.errors import JournalError
from offloader.model import AttemptState, MoveState, Reason, StrategyName
from offloader.moves.guarding import Guard
from offloader.moves.link import LinkLost
from offloader.strategies import Restart

pytestmark = pytest.mark.slow


def with_tools(world, **changes):
    """The same world, its moves with other tools."""
    world.mover._tools = replace(world.tools, **changes)


class Saving(Restart):
    """A restart with something of the test's own between *frozen* and *saved*."""

    def __init__(self, instead) -> None:
        self._instead = instead

    async def save(self, source, candidate) -> str:
        await self._instead()
        return await super().save(source, candidate)

    def settle_s(self, _age_s: float) -> float:
        return 0.5


class FailingStore:
    """The journal, whose writes fail now and then."""

    def __init__(self, journal, fails) -> None:
        self._journal = journal
        self._fails = fails

    def __getattr__(self, name):
        method = getattr(self._journal, name)

        def called(*args, **kwargs):
            if self._fails(name, args):
                raise JournalError("no space left")
            return method(*args, **kwargs)

        return called


async def runs_alone(world, pid):
    before = len(world.witness.records)
    await asyncio.sleep(0.6)
    assert {record["pid"] for record in world.witness.records[before:]} == {pid}
    assert world.witness.report()["overlaps"] == 0


async def test_a_cancel_is_obeyed_although_a_part_of_ours_swallowed_it(world):
    """It was answered with "rolling back"; the next irreversible step asks once more."""

    async def deaf():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return

    with_tools(world, strategies={StrategyName.RESTART: Saving(deaf)})
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, "frozen")
    await world.mover.cancel(move.id, by_uid=0)
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.CANCELLED)
    assert original.poll() is None
    await runs_alone(world, original.pid)


async def test_an_error_that_nobody_foresaw_rolls_back_and_tells_nothing_of_its_values(world):
    async def broken():
        raise KeyError("SECRET=hunter2")

    with_tools(world, strategies={StrategyName.RESTART: Saving(broken)})
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    ended = await world.final(move)
    assert ended.state is MoveState.ROLLED_BACK
    assert "KeyError" in ended.detail
    assert "hunter2" not in ended.detail
    assert world.journal.reserved() == {}
    await runs_alone(world, original.pid)


async def test_the_kill_switch_is_asked_again_between_arming_and_freezing(world):
    """Arming takes its time on a loaded node; a file `disabled` that appears meanwhile still counts."""

    def armed(_move):
        found = any((world.root / "head" / "moves").glob("*/state.json"))
        return (Reason.KILL_SWITCH, "the file `disabled` is there") if found else None

    with_tools(world, forbidden=armed)
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.KILL_SWITCH)
    assert "frozen" not in world.states(move)
    assert original.poll() is None


async def test_a_journal_that_fails_after_ownership_passed_delays_the_end_and_undoes_nothing(world):
    left = {MoveState.OWNED: 3, MoveState.ENDED: 2, MoveState.DONE: 2}

    def fails(name, args):
        if name != "transition" or left.get(args[1], 0) == 0:
            return False
        left[args[1]] -= 1
        return True

    with_tools(world, store=FailingStore(world.journal, fails))
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    done = await world.final(move)
    assert done.state is MoveState.DONE, done.detail
    assert original.wait(5) == -signal.SIGKILL
    await asyncio.sleep(0.5)
    report = world.witness.report()
    assert (report["overlaps"], len(report["running"])) == (0, 1)


async def test_a_journal_that_fails_during_a_roll_back_keeps_nothing_frozen_and_writes_it_later(world):
    left = [6]

    def fails(name, args):
        back = name == "release" or (
            name in {"transition", "set_fact"}
            and args[1] in (MoveState.ROLLING_BACK, MoveState.ROLLED_BACK, "unanswered")
        )
        if not back or left[0] == 0:
            return False
        left[0] -= 1
        return True

    with_tools(world, store=FailingStore(world.journal, fails))
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, "go")
    await world.mover.cancel(move.id, by_uid=0)
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.CANCELLED)
    assert world.journal.reserved() == {}
    await runs_alone(world, original.pid)


async def test_an_original_that_was_killed_while_frozen_is_lost_and_not_called_rolled_back(world):
    """Its successor fails too: nothing is left, and saying "rolled back" would hide that."""
    original = world.start_load()
    candidate = replace(candidate_of(original.pid), restart_safe=False)
    trap = {"PYTHONHOME": str(world.root / "trap")}
    move = await world.mover.start(world.plan(original.pid, candidate=candidate, env=trap))

    def kill_once_frozen(_move, _before):
        if _move.state is MoveState.FROZEN:
            os.kill(original.pid, signal.SIGKILL)

    with_tools(world, on_transition=kill_once_frozen)
    for handoff in world.mover._handoffs.values():
        handoff.tools = world.mover._tools
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.LOST, Reason.LAUNCH_FAILED)
    assert "killed" in ended.detail


@pytest.fixture
async def truncating(world):
    """A job whose first successor truncates the shared output and fails; returns its process and the output."""
    shared = world.root / "shared.out"
    script = world.root / "worker.sh"
    script.write_text(
        f'exec 9>"{shared}"\n'
        'if [ -n "$MIGRATED_FROM_PID" ] && [ "${OFFLOADING_TASK_ID##*.}" = 1 ]; then exit 1; fi\n'
        "while :; do echo line >&9; sleep 0.05; done\n"
    )
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", str(script), start_new_session=True, cwd=world.root, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )
    async with asyncio.timeout(10):
        while not shared.exists() or shared.stat().st_size == 0:
            await asyncio.sleep(0.05)
    yield child, shared
    for pid in writers(shared):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await child.wait()


def writers(path: Path) -> list[int]:
    """Who has it open for writing as descriptor 9."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "fd" / "9").readlink() == path:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def sessions(path: Path) -> set[int]:
    """The sessions of its writers that still live."""
    found = set()
    for pid in writers(path):
        with contextlib.suppress(ProcessLookupError):
            found.add(os.getsid(pid))
    return found


async def restarted_once(world, move, shared):
    ended = await world.final(move)
    assert ended.state is MoveState.ROLLED_BACK, ended.detail
    assert "restarted" in ended.detail
    async with asyncio.timeout(40):
        while (newest := world.journal.attempts(move.job)[-1]).state is not AttemptState.RUNNING:
            await asyncio.sleep(0.05)
    assert newest.node == "head"
    size = shared.stat().st_size
    await asyncio.sleep(0.5)
    assert shared.stat().st_size > size
    assert set(shared.read_bytes()) <= set(b"line\n")
    # The shell's children have inherited the descriptor: count sessions, of which every start makes one.
    assert len(sessions(shared)) == 1


async def test_a_guard_that_cannot_be_reached_when_the_original_is_to_end_is_asked_again(
    world, truncating, monkeypatch
):
    """Left at that, the original would stay frozen for ever: its watchdog does not thaw onto changed files."""
    child, shared = truncating
    end, failures = Guard.end, [2]

    async def unreachable(self):
        if failures[0]:
            failures[0] -= 1
            raise LinkLost("the bridge broke")
        await end(self)

    monkeypatch.setattr(Guard, "end", unreachable)
    move = await world.mover.start(world.plan(child.pid))
    await restarted_once(world, move, shared)


class Crash(asyncio.CancelledError):
    """What a killed controller looks like to its own tasks."""


@pytest.mark.parametrize("where", ["ended", AttemptState.PENDING, AttemptState.UNKNOWN, AttemptState.RUNNING])
async def test_a_crash_between_ending_the_original_and_starting_it_again_is_recovered(world, truncating, where):
    child, shared = truncating

    class DyingCapsules:
        put, drop = world.tools.capsules.put, world.tools.capsules.drop

        def get(self, _job):
            raise Crash

    def crash(name, args):
        if name == "save_attempt" and (args[0].epoch, args[0].state) == (2, where):
            raise Crash
        return False

    if where == "ended":
        with_tools(world, capsules=DyingCapsules())
    else:
        with_tools(world, store=FailingStore(world.journal, crash))
    move = await world.mover.start(world.plan(child.pid))
    await world.reached(move, "rolling_back")
    async with asyncio.timeout(40):
        while world.mover._handoffs or world.mover._custodies:
            await asyncio.sleep(0.05)
    await second_life(world)
    await restarted_once(world, move, shared)


async def second_life(world: World) -> None:
    await world.mover.close()
    world.journal.close()
    again = build(world.root, Witness(world.root / "second-witness"), Journal(world.root / "state"), world.backend)
    again.finished.extend(world.finished)
    world.mover, world.journal, world.finished = again.mover, again.journal, again.finished
    again.witness.close()
    await again.mover.recover()


async def test_a_submission_whose_node_has_died_is_not_waited_for(world):
    """Pinned to its node it would stay pending: given up as soon as the backend says so, not after three minutes."""
    world.backend.hold_pending = True
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    await world.reached(move, "queued")
    world.backend.dead.add(world.tools.agents["worker"].node.address)
    async with asyncio.timeout(world.tools.timings.hold_s / 2):
        ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.SUBMIT_FAILED)
    assert "does not list worker" in ended.detail
    assert "frozen" not in world.states(move)
    assert original.poll() is None


async def test_a_submission_that_waits_too_long_costs_the_original_nothing_and_finds_nothing_to_run_later(world):
    world.backend.hold_pending = True
    with_tools(world, timings=replace(world.tools.timings, hold_s=1.0))
    original = world.start_load()
    move = await world.mover.start(world.plan(original.pid))
    ended = await world.final(move)
    assert (ended.state, ended.reason) == (MoveState.ROLLED_BACK, Reason.HOLD_TIMEOUT)
    assert "frozen" not in world.states(move)
    (entry,) = world.backend.entries.values()
    world.backend.hold_pending = False
    world.backend._start(entry)  # its backend starts it after all
    async with asyncio.timeout(20):
        while not entry.status.state.final:
            await asyncio.sleep(0.05)
    assert entry.status.exit_code == 3, "no capsule to claim"
    assert {record["pid"] for record in world.witness.records} == {original.pid}
