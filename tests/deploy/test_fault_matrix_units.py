"""Parts of the fault matrix that need no test bed: what is expected, drawn, resumed and judged."""

import asyncio
import dataclasses
from types import SimpleNamespace

import pytest
from _faults import course, judge, matrix, random_faults, report, serve
from _faults.batch import Result
from _faults.expected import ENDS, GROUPS, TABLES, counts_from_heal, expected, from_then_on
from _faults.faults import of
from _faults.ways import CHECKPOINT, LIVE, RESTART, STATES, WAYS

from offloader.model import MoveState, StrategyName

T = 1000.0


def alive(node: str, start: float, end: float) -> list[dict]:
    """A copy's signs of life, 20 a second."""
    times = [start + step * 0.05 for step in range(int((end - start) / 0.05))]
    return [{"start_id": node, "node": node, "leader": True, "t": t, "seq": 1, "pid": 1} for t in times]


def test_every_strategy_has_its_way():
    assert set(WAYS) == {strategy.value for strategy in StrategyName}


@pytest.mark.parametrize(("way", "cells"), [(RESTART, 143), (CHECKPOINT, 132), (LIVE, 176)])
def test_every_fault_in_every_state_has_one_expectation(way, cells):
    assert {fault.name for fault in of(way.name)} == set(TABLES[way.name])
    assert tuple(state for states in GROUPS.values() for state in states) == STATES
    assert {len(row) for row in TABLES[way.name].values()} == {len(GROUPS)}
    assert all(expected(way.name, fault, state).text for fault, state in matrix.cells(way))
    assert len(matrix.cells(way)) == cells


@pytest.mark.parametrize("way", [RESTART, LIVE])
def test_no_copy_is_allowed_only_where_the_original_ended_before_it_was_frozen(way):
    without = {(fault, state) for fault, state in matrix.cells(way) if 0 in expected(way.name, fault, state).copies}
    before = STATES[: STATES.index("frozen")]
    assert without == {(fault, state) for fault in ("head-cycle", "original-kill", "original-oom") for state in before}


def test_a_job_that_saved_must_never_be_without_a_copy():
    saved = CHECKPOINT.states[CHECKPOINT.states.index("saved") :]
    assert all(
        expected(CHECKPOINT.name, fault, state).copies == {1}
        for fault, state in matrix.cells(CHECKPOINT)
        if state in saved
    )


def test_of_which_nothing_was_declared_may_be_lost_but_not_started_again():
    declared, undeclared = (expected(LIVE.name, "launcher-kill", "owned", declared=one) for one in (True, False))
    assert (declared.copies, declared.again) == ({1}, True)
    assert (undeclared.copies, undeclared.over, undeclared.again) == ({0, 1}, {"lost"}, False)
    here = expected(LIVE.name, "launcher-kill", "go", declared=False)
    assert here == expected(LIVE.name, "launcher-kill", "go")


def test_criu_is_only_awaited_where_it_is_still_to_come():
    states = {fault: [state for name, state in matrix.cells(LIVE) if name == fault] for fault in TABLES[LIVE.name]}
    assert states["dump-kill"][-1] == states["pages-kill"][-1] == "frozen"
    assert states["restore-kill"][-1] == "go"
    assert not {"dump-kill", "cradle-kill"} & {name for name, _ in matrix.cells(RESTART)}


@pytest.mark.parametrize("way", WAYS.values())
def test_batches_hold_every_cell_once_each_under_one_fault(way):
    planned = matrix.in_batches(way, matrix.cells(way), 5)
    assert sorted(course.names(planned)) == sorted(
        matrix.named(way, f"{fault}-{state}") for fault, state in matrix.cells(way)
    )
    assert max(len(one.cases) for one in planned) == 5
    assert all(one.fault.name in case.name for one in planned for case in one.cases)


def test_no_two_strategies_call_a_case_the_same():
    named = [{matrix.named(way, cell[0]) for cell in matrix.cells(RESTART)} for way in WAYS.values()]
    assert len(set.union(*named)) == sum(map(len, named))


@pytest.mark.parametrize("way", WAYS.values())
def test_the_quick_part_names_cells_that_there_are(way):
    assert matrix.quick(way)
    assert set(matrix.quick(way)) <= set(matrix.cells(way))


@pytest.mark.parametrize("way", WAYS.values())
def test_a_seed_repeats_its_faults_and_another_one_does_not(way):
    first, again, other = (random_faults.draw(way, 40, seed, 7) for seed in (1, 1, 2))
    assert first == again != other
    assert len(course.names(first)) == len(set(course.names(first))) == 40
    assert {case.state for one in first for case in one.cases} <= set(way.states)


def test_a_hundred_moves_meet_every_fault():
    for way in WAYS.values():
        assert {one.fault.name for one in random_faults.draw(way, 100, 1, 5)} == set(TABLES[way.name])


def test_only_the_chosen_faults_are_drawn():
    drawn = random_faults.draw(LIVE, 30, 1, 5, ["dump-kill", "cradle-kill"])
    assert [one.fault.name for one in drawn].count("dump-kill") == 3
    assert {one.fault.name for one in drawn} == {"dump-kill", "cradle-kill"}


def test_jobs_are_drawn_with_and_without_the_declaration_where_the_strategy_takes_both():
    drawn = {
        way.name: {case.declared for one in random_faults.draw(way, 40, 1, 5) for case in one.cases}
        for way in WAYS.values()
    }
    assert drawn == {"restart": {True}, "checkpoint": {True}, "live": {True, False}}


def test_what_passes_in_a_moment_is_hit_within_it():
    for one in random_faults.draw(LIVE, 200, 3, 5):
        assert not one.fault.passing or one.delay_s <= random_faults.LONGEST_PASSING_S
        assert one.delay_s <= LIVE.longest_delay_s


def test_a_random_fault_allows_what_its_state_and_every_later_one_allow():
    ends = from_then_on("restart", "original-kill", "held")
    assert ends.copies == {0, 1}
    assert from_then_on("restart", "original-kill", "frozen").copies == {1}
    assert from_then_on("restart", "controller-kill", "owning").states == {"done"}


def test_an_interrupted_run_goes_on_with_what_is_missing_or_broken(tmp_path):
    planned = matrix.in_batches(RESTART, [("disk-full", "held"), ("disk-full", "go"), ("node-kill", "go")], 2)
    file = tmp_path / "results"
    well = Result("disk-full-held", "disk-full", "held", "x")
    report.append(file, [dataclasses.replace(well, broken=["first it was not"]), well])
    report.append(file, [Result("node-kill-go", "node-kill", "go", "x", broken=["two at once"])])
    left = course.still_to_do(planned, report.read(file))
    assert course.names(left) == ["node-kill-go", "disk-full-go"]


def test_one_copy_that_froze_and_went_on_is_well():
    seen = judge.outcome(
        alive("gpu-master", T - 5, T) + alive("gpu1", T + 1, T + 2) + alive("gpu-master", T + 9, T + 20), T, T + 20
    )
    assert seen.running == ("gpu-master",)
    assert seen.copies == ("gpu-master", "gpu1")
    assert seen.again_s == pytest.approx(9.0)
    assert judge.broken(seen, ENDS["here"], "rolled_back", "unknown") == []


def test_two_copies_at_once_are_found_even_when_one_is_left_in_the_end():
    seen = judge.outcome(alive("gpu-master", T - 5, T + 3) + alive("gpu1", T + 2, T + 20), T, T + 20)
    assert seen.overlaps == 1
    assert judge.broken(seen, ENDS["there"], "done", "running") == ["1 pairs of copies executed at once"]


@pytest.mark.parametrize(
    ("records", "state", "complaint"),
    [
        ([], "rolled_back", "0 copies run in the end, expected 1"),
        (alive("gpu1", T, T + 90), "rolled_back", "it runs on gpu1, expected gpu-master"),
        (alive("gpu-master", T, T + 90), "done", "the move is done, expected rolled_back"),
        (alive("gpu-master", T, T + 90), None, "the move has no end"),
        (alive("gpu-master", T + 61, T + 90), "rolled_back", "one copy again only after 61 s"),
    ],
)
def test_what_did_not_hold_is_said(records, state, complaint):
    assert judge.broken(judge.outcome(records, T, T + 90), ENDS["here"], state, "unknown") == [complaint]


def test_a_job_that_its_owner_ended_must_not_run_again():
    seen = judge.outcome(alive("gpu-master", T - 5, T) + alive("gpu1", T + 5, T + 20), T, T + 20)
    assert judge.broken(seen, ENDS["ended"], "rolled_back", "unknown") == ["1 copies run in the end, expected 0"]


def test_where_nothing_runs_that_has_to_be_said_of_the_job():
    seen, ends = judge.outcome([], T, T + 90), expected("live", "launcher-kill", "owned", declared=False)
    assert judge.broken(seen, ends, "done", "lost") == []
    assert judge.broken(seen, ends, "done", "running") == ["nothing runs, and its job is said to be running"]


def test_a_fault_on_the_way_is_judged_by_the_state_that_it_found():
    steps = [("planned", 1.0), ("held", 2.0), ("saved", 3.0), ("rolling_back", 4.0), ("rolled_back", 5.0)]
    timeline = [{"event": event, "t": t} for event, t in steps]
    assert [judge.state_at(timeline, t) for t in (0.5, 1.5, 3.0, 9.0)] == [None, "planned", "saved", "saved"]


def test_the_time_counts_from_the_healing_only_where_no_answer_can_come_before():
    assert counts_from_heal("partition", "owning")
    assert not counts_from_heal("partition", "proven")
    assert not counts_from_heal("controller-kill", "owning")
    assert counts_from_heal("head-cycle", "held")


def test_the_table_names_what_broke_and_counts_the_rest():
    text = report.as_markdown(
        [
            Result("a", "node-kill", "go", "x", copies=("h", "w"), running=("w",)),
            Result("b", "f", "s", "x", broken=["!"]),
        ]
    )
    assert "2 runs, 1 with every invariant, 1 without." in text
    assert "**b**" in text
    assert "**a**" not in text


async def test_a_move_stands_in_the_state_it_was_asked_to_and_goes_on_when_let_go(tmp_path):
    """Only this move, only in this state."""
    for name in ("hold", "at"):
        (tmp_path / name).mkdir()
    (tmp_path / "hold/7").write_text("go")
    wait = serve.gate(tmp_path)

    def flight(pid: int, state: MoveState) -> SimpleNamespace:
        return SimpleNamespace(move=SimpleNamespace(id="m", state=state, identity=SimpleNamespace(pid=pid)))

    await wait(flight(7, MoveState.SAVED))
    await wait(flight(8, MoveState.GO))
    standing = asyncio.create_task(wait(flight(7, MoveState.GO)))
    async with asyncio.timeout(10):
        while not (tmp_path / "at/7").exists():
            await asyncio.sleep(0.01)
        assert not standing.done()
        (tmp_path / "hold/7").unlink()
        await standing


async def test_what_a_standing_move_started_before_goes_on():
    """Its contact with the guard: without that the watchdog would thaw the original of a move that only stands."""
    beats, released = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> None:
        await released.wait()

    async def beat() -> None:
        beats.set()

    async def step(_: object) -> None:
        serve.FLIGHT.set((None, asyncio.current_task()))
        asyncio.get_running_loop().create_task(serve.of_another(beat, wait)())
        await serve.of_another(beat, wait)()

    standing = asyncio.create_task(step(None))
    async with asyncio.timeout(10):
        await beats.wait()
        assert not standing.done()
        released.set()
        await standing
