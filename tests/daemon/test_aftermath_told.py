"""What goes wrong after hand-offs, as people and rules meet it: event, problem, metric, quarantine; and where to."""

from dataclasses import replace

import pytest

from offloader.daemon.metrics import Metrics
from offloader.daemon.placing import Placing
from offloader.daemon.problems import Trouble
from offloader.errors import JournalError
from offloader.jobs.events import EventKind
from offloader.model import Attempt, AttemptState, Capacity, JobState, Mode, MoveState, Obstacle, Reason
from offloader.moves.incidents import Incident, IncidentKind

from .controller_world import ROOT, World

SMALL = Capacity(0.5, 1 << 30)


def failed_early(name: str = "alice:train.py") -> Incident:
    return Incident(IncidentKind.FAILED_EARLY, "JOB", "offload_1_100", "train.py ended with exit code 1 on gpu1", name)


def exposition(world: World) -> str:
    return Metrics(world.controller, lambda: Trouble(world.ticker.beat)).exposition().decode()


async def test_a_quarantined_program_is_not_moved_by_a_rule_also_after_a_restart_until_its_hour_is_over(
    world: World,
) -> None:
    world.switches.enable(Mode.AUTO)
    world.controller.parts.incidents(failed_early())
    world.controller = world.make()
    await world.controller.tick()
    assert list(world.mover.plans) == []
    assert world.controller.view is not None
    [decision] = world.controller.view.decisions
    assert (100, Reason.QUARANTINED) in [(pid, reason) for pid, reason, _ in decision.considered]
    world.clock.now += 3601
    await world.controller.tick()
    assert [asked.candidate.leader.pid for asked in world.mover.plans] == [100]


async def test_an_incident_is_an_event_a_problem_and_a_number_for_an_hour(world: World) -> None:
    await world.controller.tick()
    world.controller.parts.incidents(failed_early())
    world.controller = world.make()
    world.desk._controller = world.controller
    [message] = [one for one in world.messages(EventKind.JOB) if "exit code 1" in one]
    problems = (await world.desk.status(ROOT))["problems"]
    [problem] = [one for one in problems if one["text"] == message]
    assert problem["command"] == "grid-offloader logs offload_1_100"
    text = exposition(world)
    assert 'grid_offloader_incidents{kind="failed_early"} 1.0' in text
    assert 'grid_offloader_incidents{kind="lost"} 0.0' in text
    assert "grid_offloader_quarantined 1.0" in text
    world.clock.now += 3601
    assert 'grid_offloader_incidents{kind="failed_early"} 0.0' in exposition(world)


def test_a_journal_that_fails_does_not_stop_whoever_tells(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise JournalError("no space left")

    monkeypatch.setattr(world.journal, "set_setting", full)
    world.controller.parts.incidents(failed_early())
    assert world.controller.parts.incidents.counts()["failed_early"] == 1


async def moved_job(world: World, state: JobState, attempt: Attempt) -> None:
    """A job that was moved and is where the attempt says."""
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [move] = world.journal.moves()
    world.journal.transition(move.id, MoveState.ROLLING_BACK, t=1.0)
    world.journal.transition(move.id, MoveState.ROLLED_BACK, t=1.0)
    job = world.journal.job(move.job)
    assert job is not None
    world.journal.settle(replace(job, state=state), (replace(attempt, job=job.id),))


@pytest.mark.parametrize(
    ("state", "node", "label", "words"),
    [
        (JobState.UNKNOWN, "gpu1", "out_of_reach", "may run on gpu1, which does not answer"),
        (JobState.RUNNING, "", "waiting", "is to start again and has no place"),
        (JobState.RUNNING, "gpu1", "running", None),
    ],
)
async def test_jobs_that_nobody_sees_or_that_wait_are_problems_and_counted(
    world: World, state: JobState, node: str, label: str, words: str | None
) -> None:
    where = AttemptState.RUNNING if node else AttemptState.PENDING
    await moved_job(world, state, Attempt("", 1, node, "ray", None, None, where, 1.0))
    assert f'grid_offloader_jobs{{state="{label}"}} 1.0' in exposition(world)
    texts = [one["text"] for one in (await world.desk.status(ROOT))["problems"]]
    assert (words is None) == (not any("offload_" in text for text in texts))
    assert words is None or any(words in text for text in texts)


async def test_a_job_that_its_move_started_again_on_the_head_is_not_moved_anew(world: World) -> None:
    """It would have two keepers, and the second one's move would look to the first like a crash."""
    await moved_job(world, JobState.RUNNING, Attempt("", 2, "head", "local", None, 100, AttemptState.RUNNING, 1.0))
    world.clock.now += 7200
    await world.controller.tick()
    assert len(world.mover.plans) == 1  # the first one
    [candidate] = await world.controller.parts.observer.candidates(world.setup, ())
    assert candidate.obstacles[0].reason is Reason.ALREADY_MOVING


async def test_a_job_that_starts_again_is_placed_by_what_the_last_tick_saw(world: World) -> None:
    placing = Placing(lambda: world.controller)
    nothing_read = placing("head", SMALL, SMALL, avoid=frozenset())
    assert isinstance(nothing_read, Obstacle)
    await world.controller.tick()
    for avoided in (frozenset[str](), frozenset({"gpu1"})):  # the only worker: better than none
        place = placing("head", SMALL, SMALL, avoid=avoided)
        assert not isinstance(place, Obstacle)
        assert (place.node, place.available) == ("gpu1", Capacity(7.0, 28 << 30))
    too_large = placing("head", SMALL, Capacity(64.0), avoid=frozenset())
    assert isinstance(too_large, Obstacle)
    assert too_large.reason is Reason.NO_TARGET
    world.clock.now += 600
    stale = placing("head", SMALL, SMALL, avoid=frozenset())
    assert isinstance(stale, Obstacle)
    assert stale.reason is Reason.STALE
