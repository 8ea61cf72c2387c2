"""From processes to candidates: what is listed, what it uses, needs, and how sure we are."""

import pytest

from offloader.engine.candidates import candidate_for, candidates_of
from offloader.model import Obstacle, ProcessClass, Reason

NOTHING = frozenset()


def listed(make, *processes, **known):
    arguments = {"kept": {}, "moving": NOTHING, "own_pids": NOTHING, **known}
    return candidates_of(make.table(*processes), node="head", policy=make.policy(), **arguments)


def test_jobs_that_matter_are_listed_largest_first_protected_ones_too(make):
    found = listed(
        make,
        make.process(200, cpu_cores=0.5),
        make.process(201, cpu_cores=2.0),
        make.process(202, cpu_cores=0.01, rss_bytes=1 << 20),
        make.process(203, rss_bytes=1 << 30),
        make.process(204, gpu_memory_bytes=1 << 20),
        make.process(205, 1, b"raylet", cpu_cores=0.2),
    )
    assert [one.leader.pid for one in found] == [201, 200, 205, 203, 204]
    assert [one.movable for one in found] == [True, True, False, True, True]


def test_many_small_processes_of_one_job_matter_together(make):
    parts = [make.process(201 + n, 200, pgid=200, cpu_cores=0.02) for n in range(50)]
    (found,) = listed(make, make.process(200), *parts)
    assert found.usage.cores == pytest.approx(1.0)
    assert len(found.members) == 51


def test_each_job_is_listed_once(make):
    found = listed(make, make.process(200, cpu_cores=1.0), make.process(201, 200, pgid=200, cpu_cores=1.0))
    assert [one.leader.pid for one in found] == [200]


def test_usage_and_needs(make):
    gib = make.GIB
    leader = make.process(200, cpu_cores=0.5, rss_bytes=gib, swap_bytes=gib, gpu_memory_bytes=4 * gib)
    (found,) = listed(make, leader, make.process(201, 200, pgid=200, cpu_cores=0.25, rss_bytes=2 * gib))
    assert (found.usage.cores, found.usage.memory_bytes) == (0.75, 4 * gib)
    assert (found.needs.cores, found.needs.memory_bytes) == (0.75, 5 * gib)
    assert (found.needs.gpus, found.needs.gpu_memory_bytes) == (1, 6 * gib)


@pytest.mark.parametrize(
    ("changes", "confidence"),
    [
        ({"cpu_cores": 0.3}, 0.5),
        ({"cpu_cores": 1.0}, 0.6),
        ({"cpu_cores": 0.05, "rss_bytes": 1 << 30}, 0.4),
        ({"cpu_cores": 0.3, "age_s": 3601.0}, 0.7),
        ({"cpu_cores": 0.3, "gpu_memory_bytes": 1}, 0.8),
        ({"cpu_cores": 1.0, "gpu_memory_bytes": 1, "age_s": 3601.0}, 1.0),
    ],
)
def test_confidence(make, changes, confidence):
    (found,) = listed(make, make.process(200, **changes))
    assert found.confidence == confidence


@pytest.mark.parametrize(
    ("changes", "complexity"),
    [
        ({}, "medium"),
        ({"process_class": ProcessClass.BATCH}, "low"),
        ({"process_class": ProcessClass.BATCH, "gpu_memory_bytes": 1}, "high"),
    ],
)
def test_complexity(make, changes, complexity):
    (found,) = listed(make, make.process(200, cpu_cores=1.0, **changes))
    assert found.complexity == complexity


def test_restarting_is_harmless_when_the_owner_said_so_or_we_started_it(make):
    def safe(**known):
        wish = known.pop("wish", None)
        return listed(make, make.process(200, cpu_cores=1.0, wish=wish), **known)[0].restart_safe

    assert not safe()
    assert safe(wish="allow")
    assert safe(declared=frozenset({200}))


def test_by_pid_any_size_and_any_member(make):
    table = make.table(make.process(200), make.process(201, 200, pgid=200))
    found = candidate_for(table, 201, node="head", policy=make.policy())
    assert found.leader.pid == 200


def test_a_pid_that_is_nobody_is_an_obstacle(make):
    found = candidate_for(make.table(), 4711, node="head", policy=make.policy())
    assert isinstance(found, Obstacle)
    assert found.reason is Reason.NO_SUCH_PROCESS


def test_the_loaded_head_of_the_demo(make):
    """sshd, shells, Ray, Prometheus and the exporter: none movable; the load is."""
    found = listed(
        make,
        make.process(10, 1, b"sshd: /usr/sbin/sshd -D", uid=0, rss_bytes=1 << 30),
        make.process(11, 10, b"sshd: alice@pts/0", uid=0, rss_bytes=1 << 30),
        make.shell(12, 11, rss_bytes=1 << 30),
        make.process(20, 1, b"/v/raylet", rss_bytes=1 << 30),
        make.process(21, 20, b"ray::IDLE", rss_bytes=1 << 30, pgid=20),
        make.process(30, 1, b"/usr/bin/prometheus", rss_bytes=1 << 30),
        make.process(31, 1, b"python3", b"/v/bin/grid-exporter", rss_bytes=1 << 30),
        make.process(40, 12, b"python3", b"load.py", cpu_cores=0.5),
    )
    assert [one.leader.pid for one in found if one.movable] == [40]
