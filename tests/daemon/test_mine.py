"""`status --mine`: one's own jobs and nobody else's, where they run, how they ended, what to type."""

from dataclasses import replace

from offloader.daemon.api.control import KeepRequest, MoveRequest
from offloader.jobs.events import Event, EventKind
from offloader.model import Attempt, AttemptState, Completion, Job, JobState, MoveState, Reason

from .controller_world import ALICE, BOB, World, process, ticks, with_notice

WAY = (
    *(MoveState.PREFLIGHTED, MoveState.RESERVED, MoveState.QUEUED, MoveState.HELD, MoveState.FROZEN, MoveState.SAVED),
    *(MoveState.GO, MoveState.PROVEN, MoveState.OWNING, MoveState.OWNED, MoveState.ENDED, MoveState.DONE),
)


async def moved(world: World, *states: MoveState, reason=None):
    move = world.journal.move((await world.desk.move(ALICE, MoveRequest(100)))["id"])
    for state in states:
        move = world.journal.transition(move.id, state, t=world.clock.now, reason=reason)
    return move


def job_is(world: World, move, state: JobState, attempt: AttemptState, code: int | None = None) -> None:
    completion = Completion(code)
    world.journal.save_job(replace(world.journal.job(move.job), state=state, completion=completion))
    here = world.journal.attempts(move.job)[0]
    world.journal.save_attempt(replace(here, state=AttemptState.ENDED))
    world.journal.save_attempt(Attempt(move.job, 1, "gpu1", "ray", None, 7, attempt, 0.0, completion=completion))


async def test_a_moved_job_says_where_it_runs_and_how_to_follow_and_end_it(world: World) -> None:
    move = await moved(world, *WAY)
    job_is(world, move, JobState.RUNNING, AttemptState.RUNNING)
    [told] = (await world.desk.mine(ALICE))["moves"]
    assert told["where"] == "gpu1"
    assert told["sentence"].startswith("It was moved from head to gpu1")
    assert told["commands"]["follow"] == f"grid-offloader logs -f {move.id}"
    assert told["commands"]["end"] == f"grid-offloader cancel {move.id}"


async def test_a_job_of_run_is_shown_to_its_owner_and_in_status_without_what_went_wrong_to_others(world: World) -> None:
    job = Job("01A", "alice", ALICE.uid, "train.py", world.clock.now)
    world.journal.settle(job, (Attempt("01A", 1, "gpu1", "ray", None, 7, AttemptState.RUNNING, world.clock.now),))
    world.journal.add_event(Event(1.0, EventKind.JOB, "01A", "its worker burns", data={"incident": "out_of_reach"}))
    await ticks(world, world.controller, 1)
    [told] = (await world.desk.mine(ALICE))["jobs"]
    assert (told["id"], told["node"], told["state"], told["detail"]) == ("01A", "gpu1", "running", "its worker burns")
    assert (await world.desk.mine(BOB))["jobs"] == []
    [shown] = (await world.desk.status(BOB))["jobs"]
    assert (shown["id"], shown["move"], shown["detail"]) == ("01A", None, "")


async def test_one_that_ended_says_how(world: World) -> None:
    move = await moved(world, *WAY)
    job_is(world, move, JobState.FAILED, AttemptState.ENDED, 3)
    [told] = (await world.desk.mine(ALICE))["moves"]
    assert (told["where"], told["exit_code"], told["job_state"]) == (None, 3, "failed")
    assert "end" not in told["commands"]
    assert told["commands"]["output"] == f"grid-offloader logs {move.id}"


async def test_one_that_was_taken_back_runs_where_it_was(world: World) -> None:
    await moved(world, MoveState.ROLLING_BACK, MoveState.ROLLED_BACK, reason=Reason.LINK_LOST)
    [told] = (await world.desk.mine(ALICE))["moves"]
    assert (told["where"], told["reason"]) == ("head", "LINK_LOST")
    assert "end" not in told["commands"]


async def test_one_under_way_can_be_taken_back(world: World) -> None:
    move = await moved(world)
    [told] = (await world.desk.mine(ALICE))["moves"]
    assert (told["where"], told["commands"]["undo"]) == (None, f"grid-offloader cancel {move.id}")


async def test_one_that_was_lost_runs_nowhere(world: World) -> None:
    await moved(world, *WAY[:9], MoveState.ROLLING_BACK, MoveState.LOST, reason=Reason.LINK_LOST)
    [told] = (await world.desk.mine(ALICE))["moves"]
    assert told["where"] is None


async def test_notices_and_keeps_are_ones_own_too(world: World) -> None:
    world.processes[200] = process(200, 0.5)
    with_notice(world)
    await ticks(world, world.controller, 2)
    await world.desk.keep(ALICE, KeepRequest(200))
    mine = await world.desk.mine(ALICE)
    assert [one["pid"] for one in mine["notices"]] == [100]
    assert [one["pid"] for one in mine["kept"]] == [200]


async def test_nobody_sees_what_is_somebody_elses(world: World) -> None:
    await moved(world)
    await world.desk.keep(ALICE, KeepRequest(100))
    mine = await world.desk.mine(BOB)
    assert (mine["notices"], mine["kept"], mine["moves"]) == ([], [], [])
