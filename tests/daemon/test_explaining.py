"""`why` as the API answers it: for whom, from which view, and that it is the story that `status` tells."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from offloader.daemon.api.control import AutoRequest, MoveRequest
from offloader.daemon.ticker import Beat
from offloader.errors import NotFound, NotPermitted
from offloader.model import Mode, MoveState, Reason

from .controller_world import ALICE, BOB, ROOT, World, process, ticks

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/why.schema.json").read_text(encoding="utf-8"))
CHAIN = ["controller", "data", "rule", "ceiling", "budget", "candidates", "targets"]


async def test_a_controller_that_has_only_just_started_looks_before_it_answers(world: World) -> None:
    assert (await world.desk.why(ROOT, None))["broken"]["name"] == "controller"
    told = await world.desk.why(ALICE, 100)
    jsonschema.validate(told, SCHEMA)
    assert (told["verdict"], told["reason"]) == ("would_move", "CEILING")


async def test_the_whole_chain_holds_while_something_is_moved(world: World) -> None:
    await world.desk.auto(ROOT, AutoRequest(enabled=True))
    told = await world.desk.why(ROOT, None)
    jsonschema.validate(told, SCHEMA)
    assert (told["moving"], told["broken"], told["next"]) == (True, None, "move")
    assert [link["name"] for link in told["links"]] == CHAIN
    assert told["sentence"] == "Moving train.py (pid 100, alice) to gpu1, by g/cpu."
    assert len(told["moves_in_flight"]) == 1


@pytest.mark.parametrize("caller", [ROOT, BOB])
async def test_status_tells_the_same_story(world: World, caller) -> None:
    for pressure in (0.95, 0.3):
        world.pressure = pressure
        await ticks(world, world.controller, 1)
        why, status = await world.desk.why(caller, None), await world.desk.status(caller)
        chain = status["next"]["chain"]
        assert (why["links"], why["broken"], why["rules"]) == (chain["links"], chain["broken"], status["rules"])
        assert why["next"] == status["next"]["kind"]


async def test_a_switch_is_in_the_answer_before_the_next_check(world: World) -> None:
    await ticks(world, world.controller, 1)
    world.switches.kill_switch_path.touch()
    told = await world.desk.why(ROOT, None)
    assert (told["broken"]["name"], told["broken"]["reason"]) == ("ceiling", "KILL_SWITCH")
    assert told["broken"]["command"] == f"rm {world.switches.kill_switch_path}"
    assert (await world.desk.why(ALICE, 100))["reason"] == "CEILING", "what the last check decided"


async def test_who_owns_neither_job_nor_cluster_learns_whose_it_is_and_no_more(world: World) -> None:
    """No argv, no reasons, not even by way of the cluster's answer."""
    world.processes[101] = replace(process(101, 1.0), tracer_pid=7)
    await ticks(world, world.controller, 1)
    move = await world.desk.move(ALICE, MoveRequest(100))
    for subject in (100, 101, move["id"]):
        with pytest.raises(NotPermitted) as caught:
            await world.desk.why(BOB, subject)
        assert caught.value.reason is Reason.NOT_YOURS
        assert "traced" not in str(caught.value)
    told = await world.desk.why(BOB, None)
    jsonschema.validate(told, SCHEMA)
    assert told["candidates"] == []
    assert "traced" not in str(told)
    for caller in (ALICE, ROOT):
        assert "secret-plan" in str(await world.desk.why(caller, 100))


async def test_nothing_of_other_peoples_jobs_is_in_an_owners_answer(world: World) -> None:
    """His job is outdone by another's, which waits for its owner: why that one waits is not for him."""
    world.switches.enable(Mode.AUTO)
    secret = replace(process(200, 2.0, uid=BOB.uid), wish=None, listening=True, comm="hush")
    world.processes = {200: secret}
    await ticks(world, world.controller, 1)
    assert world.controller.view is not None
    assert "hush" in world.controller.view.decisions[0].detail
    world.processes = {200: secret, 100: process(100, 4.0)}
    told = await world.desk.why(ALICE, 100)
    jsonschema.validate(told, SCHEMA)
    assert "hush" not in json.dumps(told)
    assert "hush" in json.dumps(await world.desk.why(ROOT, 100))


async def test_links_about_processes_are_shown_to_admins_only(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    world.processes = {100: replace(process(100, 4.0), wish=None, listening=True)}
    await ticks(world, world.controller, 1)
    for caller, seen in ((ROOT, True), (BOB, False)):
        broken = (await world.desk.why(caller, None))["broken"]
        assert (broken["name"], broken["reason"]) == ("candidates", "LISTENER")
        assert bool(broken["seen"]) is seen
        assert (broken["command"] == "grid-offloader move 100") is seen


async def test_what_does_not_exist_is_not_found_and_a_moved_process_leads_to_its_move(world: World) -> None:
    move = await world.desk.move(ALICE, MoveRequest(100))
    world.processes = {}
    for subject, words in (
        (100, f"grid-offloader why {move['id']}"),
        (99, "no process 99"),
        ("offload_1_2", "no move"),
    ):
        with pytest.raises(NotFound) as caught:
            await world.desk.why(ROOT, subject)
        assert words in str(caught.value)


async def test_a_job_that_is_being_moved_says_so(world: World) -> None:
    move = await world.desk.move(ALICE, MoveRequest(100))
    told = await world.desk.why(ALICE, 100)
    jsonschema.validate(told, SCHEMA)
    assert told["verdict"] == "moving"
    assert "move" not in told["commands"]
    ours = await world.desk.why(ALICE, move["id"])
    jsonschema.validate(ours, SCHEMA)
    assert "It is being moved from head to gpu1 by restart: planned." in ours["sentence"]


async def test_a_move_that_was_rolled_back_says_why(world: World) -> None:
    move = await world.desk.move(ALICE, MoveRequest(100))
    world.journal.transition(
        move["id"], MoveState.ROLLING_BACK, t=world.clock.now, reason=Reason.LINK_LOST, detail="cut"
    )
    world.journal.transition(move["id"], MoveState.ROLLED_BACK, t=world.clock.now)
    told = await world.desk.why(ALICE, move["id"])
    assert "taken back: the work stayed on head" in told["sentence"]
    assert "cut. The connection to the launcher was lost." in told["sentence"]
    assert [step["event"] for step in told["move"]["timeline"]][-1] == "rolled_back"


@pytest.mark.parametrize(
    ("beat", "words"),
    [
        (Beat(ticks=3, finished_t=1_700_000_000.0 - 100, error=None), "ended 100 s ago"),
        (Beat(ticks=3, failed=1, finished_t=1_700_000_000.0, error="KeyError: 'x'"), "the last check failed: KeyError"),
    ],
)
async def test_a_controller_that_is_stuck_or_fails_is_the_first_broken_link(world: World, beat, words) -> None:
    await world.controller.tick()
    world.ticker.beat = beat
    told = await world.desk.why(ROOT, None)
    jsonschema.validate(told, SCHEMA)
    assert told["broken"]["name"] == "controller"
    assert words in told["sentence"]
    assert (await world.desk.status(ROOT))["next"]["kind"] == "nothing"


async def test_a_journal_that_cannot_be_written_is_the_first_broken_link(world: World) -> None:
    await world.controller.tick()
    world.controller.journal_error = "disk full"
    broken = (await world.desk.why(ROOT, None))["broken"]
    assert (broken["name"], broken["reason"], broken["command"]) == ("controller", "JOURNAL_FAILED", "df -h")
