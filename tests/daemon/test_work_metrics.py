"""Every move and every job is a series of its own, and their number is bounded."""

import re
from dataclasses import replace

import pytest
import receipts

from offloader.config.complete import complete
from offloader.config.models import Cluster
from offloader.daemon.metrics import Metrics
from offloader.daemon.pages import pages
from offloader.daemon.problems import Trouble
from offloader.daemon.ticker import Beat
from offloader.daemon.work_metrics import NEWEST
from offloader.errors import JournalError
from offloader.jobs.events import Event, EventKind
from offloader.model import Attempt, AttemptState, Figure, Identity, Job, Move, MoveState, Reason

from .controller_world import USER, World


def samples(world: World, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """By labels."""
    text = Metrics(world.controller, lambda: Trouble(Beat(), None)).exposition().decode()
    found = re.findall(rf"^grid_offloader_{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
    return {tuple(re.findall(r'(\w+)="([^"]*)"', labels)): float(value) for labels, value in found}


def labels(world: World, name: str) -> list[dict[str, str]]:
    return [dict(one) for one in samples(world, name)]


def begin(world: World, number: int = 42, **changes: object) -> Move:
    """A planned move of a job that runs on the head."""
    now = world.clock.now
    job = Job(f"job{number}", "alice", USER, "train.py", now)
    move = receipts.move(
        MoveState.PLANNED,
        id=f"offload_1700000000_{number}",
        job=job.id,
        identity=Identity("boot", number, 777, USER, 5, 6),
        created_t=now,
        updated_t=now,
        downtime_s=None,
        **changes,
    )
    here = Attempt(job.id, 0, "head", "local", None, number, AttemptState.RUNNING, now - 600)
    there = Attempt(job.id, 1, "gpu1", "ray", f"{job.id}-1", None, AttemptState.PENDING, now)
    world.journal.create(job, (here, there), move)
    return move


def fail(world: World, move: Move) -> None:
    world.clock.now += 3
    for state in (MoveState.ROLLING_BACK, MoveState.ROLLED_BACK):
        world.journal.transition(move.id, state, t=world.clock.now, reason=Reason.CANCELLED, detail="bob said so")


async def test_a_move_in_flight_is_told_with_its_state(world: World) -> None:
    move = begin(world)
    [told] = labels(world, "move_start_timestamp_seconds")
    assert told == {
        "move": move.id,
        "pid": "42",
        "name": "train.py",
        "user": "alice",
        "source": "head",
        "target": "gpu1",
        "strategy": "restart",
        "automatic": "yes",
        "rule": "g/cpu",
    }
    assert list(samples(world, "move_start_timestamp_seconds").values()) == [world.clock.now]
    assert labels(world, "move_state") == [{"move": move.id, "state": "planned"}]
    assert labels(world, "move_end_timestamp_seconds") == []


async def test_a_move_that_ended_is_told_with_its_outcome_but_not_why(world: World) -> None:
    """Anybody may read metrics; why somebody's work was not moved is for its owner and admins."""
    move = begin(world)
    fail(world, move)
    [(told, ended)] = samples(world, "move_end_timestamp_seconds").items()
    assert (dict(told)["outcome"], dict(told)["target"], ended) == ("rolled_back", "gpu1", world.clock.now)
    assert labels(world, "move_state") == [{"move": move.id, "state": "rolled_back"}]
    text = Metrics(world.controller, lambda: Trouble(Beat(), None)).exposition().decode()
    assert "bob said so" not in text
    assert "CANCELLED" not in text


async def test_moves_in_flight_and_the_newest_of_a_day_are_told(world: World) -> None:
    waiting = begin(world, 1)
    for number in range(2, NEWEST + 12):
        fail(world, begin(world, number))
    told = [one["move"] for one in labels(world, "move_start_timestamp_seconds")]
    assert len(told) == NEWEST + 1
    assert waiting.id in told
    assert "offload_1700000000_2" not in told
    world.clock.now += 86401
    assert [one["move"] for one in labels(world, "move_start_timestamp_seconds")] == [waiting.id]


def receipt_of(world: World, move: Move, **changes: object) -> None:
    made = receipts.receipt(move=move.id, job=move.job, **changes)
    world.journal.add_receipt(made, Event(world.clock.now, EventKind.MOVE, move.id, "receipt"))


async def test_a_receipt_is_told_as_expected_and_as_it_came_out(world: World) -> None:
    move = begin(world)
    fail(world, move)
    assert samples(world, "receipt_downtime_seconds") == {}
    receipt_of(world, move, downtime_s=Figure(1.5), work_lost_s=Figure(30.0, "a bound", at_most=True))
    found = {(dict(told)["kind"], value) for told, value in samples(world, "receipt_downtime_seconds").items()}
    assert ("seen", 1.5) in found
    assert {kind for kind, _ in found} == {"seen", "expected"}
    lost = {dict(told)["kind"]: value for told, value in samples(world, "receipt_work_lost_seconds").items()}
    assert lost["at_most"] == 30.0
    assert "seen" not in lost
    relief = {
        (dict(told)["resource"], dict(told)["kind"]): round(value, 6)
        for told, value in samples(world, "receipt_relief_ratio").items()
    }
    assert relief == {
        ("cpu", "seen"): 0.45,
        ("cpu", "expected"): 0.4,
        ("memory", "seen"): 0.09,
        ("memory", "expected"): 0.1,
    }


async def test_what_is_not_known_of_a_receipt_is_absent(world: World) -> None:
    move = begin(world)
    fail(world, move)
    unknown = {"downtime_s": Figure(None, "?"), "bytes_moved": Figure(None, "?"), "after": None}
    receipt_of(world, move, **unknown)
    assert [one["kind"] for one in labels(world, "receipt_downtime_seconds")] == ["expected"]
    assert samples(world, "receipt_bytes") == {}
    assert samples(world, "receipt_relief_ratio") == {}


async def test_a_receipt_of_a_newer_version_hides_no_other_metric(world: World, monkeypatch) -> None:
    move = begin(world)
    fail(world, move)

    def newer(_: str) -> None:
        raise JournalError("written by a newer version")

    monkeypatch.setattr(world.journal, "receipt", newer)
    assert samples(world, "receipt_bytes") == {}
    assert labels(world, "move_state") == [{"move": move.id, "state": "rolled_back"}]


async def test_a_job_that_runs_elsewhere_is_told_with_its_place(world: World) -> None:
    job = Job("01J", "alice", USER, "train.py", world.clock.now)
    world.journal.save_job(job)
    world.journal.save_attempt(
        Attempt("01J", 1, "gpu1", "ray", "01J-1", 77, AttemptState.RUNNING, world.clock.now - 60)
    )
    [(told, since)] = samples(world, "job_start_timestamp_seconds").items()
    assert dict(told) == {
        "id": "01J",
        "move": "",
        "pid": "77",
        "name": "train.py",
        "user": "alice",
        "node": "gpu1",
        "state": "running",
        "submission": "01J-1",
    }
    assert since == world.clock.now - 60


def jobs(world: World) -> dict[str, float]:
    return {dict(told)["state"]: value for told, value in samples(world, "jobs").items()}


async def test_a_job_is_one_that_runs_elsewhere_from_when_it_owns_the_work(world: World) -> None:
    move = begin(world)
    assert jobs(world) == {"running": 0.0, "waiting": 0.0, "out_of_reach": 0.0}
    assert labels(world, "job_start_timestamp_seconds") == []
    here, there = world.journal.attempts(move.job)
    world.journal.save_attempt(replace(here, state=AttemptState.ENDED))
    world.journal.save_attempt(replace(there, state=AttemptState.RUNNING))
    assert jobs(world)["running"] == 1.0
    assert [(one["node"], one["move"]) for one in labels(world, "job_start_timestamp_seconds")] == [("gpu1", move.id)]


async def test_a_job_that_is_moved_on_is_where_it_was_until_its_successor_owns_it(world: World) -> None:
    move = begin(world)
    here, there = world.journal.attempts(move.job)
    world.journal.save_attempt(replace(here, state=AttemptState.ENDED))
    world.journal.save_attempt(replace(there, state=AttemptState.RUNNING))
    world.journal.save_attempt(replace(there, epoch=2, node="gpu2", submission_id=f"{move.job}-2"))
    [told] = labels(world, "job_start_timestamp_seconds")
    assert (told["node"], told["submission"], told["state"]) == ("gpu1", f"{move.job}-1", "running")


async def test_outcomes_are_counted_from_0_on(world: World) -> None:
    """increase() does not see the first value of a series: without a 0 before it the first move would not count."""
    found = {dict(told)["outcome"]: value for told, value in samples(world, "move_seconds_count").items()}
    assert found == {"done": 0.0, "rolled_back": 0.0, "lost": 0.0}
    assert set(samples(world, "moves_started_total").values()) == {0.0}


@pytest.mark.parametrize(
    ("listen", "status"),
    [
        ("127.0.0.1:9778", "http://127.0.0.1:9778"),
        ("0.0.0.0:80", "http://192.0.2.1:80"),
        ("[::]:9778", "http://192.0.2.1:9778"),
        ("login1:9778", "http://login1:9778"),
    ],
)
async def test_pages_are_where_browsers_find_them(listen: str, status: str) -> None:
    nodes = ({"name": "head", "role": "head", "address": "192.0.2.1"},)
    cluster = complete(Cluster.model_validate({"cluster": "lab", "nodes": nodes, "controller": {"listen": listen}}))
    assert pages(cluster) == {"status": status, "ray": "http://192.0.2.1:8265"}
