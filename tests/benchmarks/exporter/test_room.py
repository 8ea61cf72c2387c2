"""A load that does not fit is refused with what would make it fit."""

from dataclasses import replace

import pytest

from benchmarks.exporter.load import Load, Scenario
from benchmarks.exporter.room import Room, look, needed_memory, needed_tasks, obstacles

AMPLE = Room(tasks=500, pid_max=1 << 22, threads_max=1 << 22, cgroup_tasks=None, user_tasks=None, memory=1 << 40)
LARGEST = Load(Scenario.THREADS, 5000)


def test_ample_room():
    assert obstacles(LARGEST, AMPLE) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pid_max": 32768}, "sysctl -w kernel.pid_max=131072"),
        ({"threads_max": 80000}, "sysctl -w kernel.threads-max=131072"),
        ({"cgroup_tasks": 9000}, "9000 left (pids.max)"),
        ({"user_tasks": 31000}, "ulimit -u"),
        ({"memory": 1 << 30}, "1.0 GiB are free"),
    ],
)
def test_each_limit_is_named(change, message):
    (told,) = obstacles(LARGEST, replace(AMPLE, **change))
    assert told.startswith("needs ")
    assert message in told


def test_all_of_them_at_once():
    assert len(obstacles(LARGEST, replace(AMPLE, pid_max=32768, memory=1 << 30))) == 2


def test_threads_count_as_tasks_and_take_memory():
    plain = Load(Scenario.PLAIN, 5000)
    assert needed_tasks(LARGEST) - needed_tasks(plain) == 15 * 5010
    assert needed_memory(LARGEST) > needed_memory(plain) > 125 * (4 << 20)


def test_this_machine_has_room_for_a_few():
    """The limits are read from where they are, whichever control groups this machine has."""
    room = look()
    assert room.tasks > 0
    assert room.memory > 0
    assert obstacles(Load(Scenario.PLAIN, 1), replace(room, memory=1 << 40)) == []
