"""What was given up while its node did not answer is fenced as soon as it does, by whatever life of the controller."""

import asyncio
import os
import signal
from types import SimpleNamespace

import pytest
from moves_world import crash_and_restart

from offloader.adapters.commands import LocalHost
from offloader.errors import JournalError, NodeUnreachable
from offloader.model import MoveState
from offloader.moves.agent import VerbFailed
from offloader.moves.plan import Timings
from offloader.moves.unfenced import Unfenced, fence_when_they_answer, remember, remembered

SILENT = NodeUnreachable("no answer")


class Journal:
    """Settings alone; `full` of the next so many writes fail."""

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self.full = 0

    def setting(self, key):
        return self.settings.get(key)

    def set_setting(self, key, value):
        if self.full:
            self.full -= 1
            raise JournalError("the disk is full")
        self.settings[key] = value


class Node:
    """Answers `fence`, one answer after the other; the last one again and again."""

    def __init__(self, *answers) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def attempt_dir(self, job, epoch):
        return f"{job}.{epoch}"

    def forget(self):
        pass

    async def verb(self, verb, directory):
        assert verb == "fence"
        self.asked.append(directory)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    """Sleeps pass at once and are counted."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []

    def time(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        self.slept.append(seconds)
        await asyncio.sleep(0)


def tools(**nodes):
    return SimpleNamespace(store=Journal(), agents=nodes, clock=Clock(), timings=Timings())


async def rounds(world, number):
    """So many of the endless loop's."""
    task = asyncio.create_task(fence_when_they_answer(world))
    async with asyncio.timeout(10):
        while len(world.clock.slept) < number:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_node_is_asked_until_nothing_is_left_there():
    node = Node(SILENT, {"dead": False}, VerbFailed("OS_ERROR", "input/output error"), {"dead": True})
    world = tools(worker=node)
    remember(world, "worker", "JOB", 1)
    await rounds(world, 6)
    assert node.asked == ["JOB.1"] * 4
    assert remembered(world) == ()


async def test_a_silent_node_is_asked_once_a_round_and_more_and_more_rarely():
    silent, other = Node(SILENT), Node({"dead": True})
    world = tools(silent=silent, other=other)
    for job in ("A", "B"):
        remember(world, "silent", job, 1)
    remember(world, "other", "C", 2)
    await rounds(world, 8)
    assert silent.asked == ["A.1"] * len(silent.asked)
    assert other.asked == ["C.2"]
    assert [one.job for one in remembered(world)] == ["A", "B"]
    assert world.clock.slept[:2] == [10.0, 20.0]
    assert max(world.clock.slept) == 60.0


async def test_what_is_told_twice_is_kept_once():
    world = tools()
    for _ in range(2):
        remember(world, "worker", "JOB", 1)
    assert remembered(world) == (Unfenced("worker", "JOB", 1, 1000.0),)


async def test_a_node_that_is_not_in_the_cluster_file_may_come_back_but_not_for_ever():
    world = tools()
    remember(world, "worker", "JOB", 1)
    await rounds(world, 1)
    assert remembered(world)
    world.clock.now += world.timings.history_s
    await rounds(world, 2)
    assert remembered(world) == ()


async def test_a_full_disk_delays_it():
    node = Node({"dead": True})
    world = tools(worker=node)
    remember(world, "worker", "JOB", 1)
    world.store.full = 2
    await rounds(world, 4)
    assert node.asked == ["JOB.1"] * 3
    assert remembered(world) == ()


@pytest.fixture
def power(monkeypatch):
    """The names of hosts that do not answer."""
    off: set[str] = set()
    for name in ("run", "open", "attach"):
        answered = getattr(LocalHost, name)

        def asked(self, *arguments, _answered=answered, **options):
            if self.name in off:
                raise NodeUnreachable(f"{self.name} does not answer")
            return _answered(self, *arguments, **options)

        monkeypatch.setattr(LocalHost, name, asked)
    return off


@pytest.mark.slow
@pytest.mark.criu
@pytest.mark.parametrize("restarted", [False, True])
async def test_no_image_stays_on_a_target_that_lost_its_power(world, counting, power, restarted):
    await world.mover.recover()
    move = await world.mover.start(counting.plan())
    await world.reached(move, "held")
    agent = world.tools.agents["worker"]
    status = await agent.verb("status", agent.attempt_dir(move.job, 1))
    power.add("worker")
    os.kill(status["pid"], signal.SIGKILL)
    ended = await world.final(move)
    assert ended.state is MoveState.ROLLED_BACK
    counting.counts_on()
    assert [path.parent.name for path in counting.images()] == [f"{move.job}.1"]
    if restarted:
        await crash_and_restart(world)
    power.clear()
    async with asyncio.timeout(30):
        while counting.images():
            await asyncio.sleep(0.05)
    counting.contiguous()
