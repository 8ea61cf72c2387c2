"""Estimates learn from outcomes: never negative, never beyond bounds, never from too little, never from one outlier."""

from dataclasses import replace

import receipts
from hypothesis import given, settings
from hypothesis import strategies as st

from offloader.engine.correction import ENOUGH, LAST, LEAST, MOST, correction_for, corrections
from offloader.engine.plan import plan
from offloader.engine.schema import EngineState
from offloader.engine.select import estimated, ways
from offloader.model import (
    Correction,
    Decided,
    Estimate,
    Figure,
    MoveState,
    ProcessClass,
    Receipt,
    StrategyName,
)

LIVE, RESTART, CHECKPOINT = StrategyName.LIVE, StrategyName.RESTART, StrategyName.CHECKPOINT
TRAINING, BATCH = ProcessClass.TRAINING, ProcessClass.BATCH
QUICK = settings(deadline=None, derandomize=True, max_examples=50)

outcomes = st.floats(0, 1e9)
several = st.lists(outcomes, min_size=ENOUGH, max_size=LAST)


def made(stop: Figure | float, lost: Figure | float = 50.0, **changes) -> Receipt:
    """Estimated at 5 s of standing still and 100 s of work."""
    estimate = Estimate(100.0, 5.0, 100.0, 0, 0.0)
    what = Decided(changes.pop("process_class", TRAINING), receipts.pressures(), estimate)
    figures = {
        "downtime_s": stop if isinstance(stop, Figure) else Figure(stop),
        "work_lost_s": lost if isinstance(lost, Figure) else Figure(lost),
    }
    return receipts.receipt(decided=what, **{"strategy": CHECKPOINT, **figures, **changes})


def factor(values, strategy=CHECKPOINT, process_class=TRAINING) -> float:
    return correction_for(corrections([made(value) for value in values]), strategy, process_class).downtime


@QUICK
@given(several, several)
def test_a_factor_is_never_negative_nor_beyond_its_bounds(stops, losts):
    found = corrections([made(stop, lost) for stop, lost in zip(stops, losts, strict=False)] * 2)
    for one in found.values():
        assert LEAST <= one.downtime <= MOST
        assert LEAST <= one.work_lost <= MOST


@QUICK
@given(several, st.integers(0, LAST - 1), outcomes)
def test_what_came_out_worse_never_makes_it_look_better(values, index, more):
    worse = list(values)
    worse[index % len(values)] += more
    assert factor(worse) >= factor(values)


@QUICK
@given(st.lists(st.floats(0, 20), min_size=ENOUGH, max_size=LAST - 1), outcomes)
def test_one_outlier_stays_within_what_the_others_say(values, outlier):
    bounds = [min(MOST, max(LEAST, value / 5.0)) for value in values]
    assert min(bounds) <= factor([outlier, *values]) <= max(bounds)


@QUICK
@given(st.lists(outcomes, max_size=ENOUGH - 1))
def test_too_few_receipts_correct_nothing(values):
    assert corrections([made(value) for value in values]) == {}
    assert correction_for({}, CHECKPOINT, TRAINING) == Correction()


def test_the_factor_is_the_median_of_outcome_over_estimate():
    assert factor([2.5, 5.0, 7.5, 10.0, 1000.0]) == 1.5


def test_only_the_newest_count():
    assert factor([10.0] * LAST + [2.5] * 100) == 2.0


def test_what_is_unknown_bounded_or_taken_back_teaches_nothing():
    useless = [
        made(Figure(None, "?"), Figure(None, "?")),
        made(Figure(5.0, "at most", at_most=True), Figure(100.0, "at most", at_most=True)),
        made(5.0, outcome=MoveState.ROLLED_BACK),
        made(5.0, outcome=MoveState.LOST),
        made(float("nan"), float("inf")),
        replace(made(5.0), decided=replace(made(5.0).decided, estimate=Estimate(0.0, 0.0, 0.0, 0, 0.0))),
    ]
    assert corrections(useless * ENOUGH) == {}


def test_each_figure_has_samples_of_its_own():
    found = corrections([made(10.0, Figure(None, "?"))] * ENOUGH)[CHECKPOINT, None]
    assert found == Correction(1.0, 2.0, 0, ENOUGH)


def test_a_class_with_enough_of_its_own_has_its_own_factor_another_one_that_of_the_strategy():
    known = corrections([made(5.0)] * 20 + [made(10.0, process_class=BATCH)] * ENOUGH)
    assert correction_for(known, CHECKPOINT, BATCH).downtime == 2.0
    assert correction_for(known, CHECKPOINT, TRAINING).downtime == 1.0
    few = corrections([made(5.0)] * 20 + [made(10.0, process_class=BATCH)] * (ENOUGH - 1))
    assert correction_for(few, CHECKPOINT, BATCH) == correction_for(few, CHECKPOINT, ProcessClass.IO)
    assert correction_for(few, LIVE, BATCH) == Correction()


# What is estimated with it


def test_without_receipts_estimates_are_those_of_the_formulas(make):
    job = make.candidate(memory=1_000_000_000)
    restart, checkpoint, live = (estimated(job, one) for one in (RESTART, CHECKPOINT, LIVE))
    assert (restart.expected_work_lost_s, restart.expected_downtime_s) == (300.0, 5.0)
    assert (checkpoint.expected_work_lost_s, checkpoint.expected_downtime_s) == (15.0, 5.0)
    assert live.expected_work_lost_s == live.expected_downtime_s == 5.5
    assert (live.age_s, live.memory_bytes, live.cores) == (300.0, 1_000_000_000, 2.0)


def test_a_way_costs_what_earlier_moves_came_out_at(make):
    job = make.candidate(leader=make.process(500, process_class=TRAINING, age_s=300.0))
    known = {(CHECKPOINT, None): Correction(0.5, 0.25, ENOUGH, ENOUGH), (LIVE, TRAINING): Correction(4.0, 2.0, 9, 9)}
    [checkpoint, live, restart] = ways(job, (CHECKPOINT, LIVE, RESTART), corrections=known)
    assert (checkpoint.lost_s, checkpoint.stop_s) == (8.75, 1.25)
    plain = estimated(job, LIVE).downtime_s
    assert (live.lost_s, live.stop_s) == (2 * plain, 2 * plain), "a live move loses its standstill, and that once"
    assert (restart.lost_s, restart.stop_s) == (305.0, 5.0)


def test_what_was_learnt_turns_the_choice_of_the_way(make):
    """A live move of 1 GiB is estimated at 5.9 s; here it took four times as long, and saving next to nothing."""
    known = {(LIVE, None): Correction(4.0, 4.0, 9, 9), (CHECKPOINT, None): Correction(0.25, 0.25, 9, 9)}
    every = (LIVE, CHECKPOINT, RESTART)

    def chosen(**changes):
        snapshot = make.snapshot(**changes)
        _, [decision] = plan((make.rule(),), EngineState(), snapshot, make.policy(), available=every)
        return decision.strategy

    assert (chosen(), chosen(corrections=known)) == (LIVE, CHECKPOINT)


def test_and_never_widens_what_may_be_lost(make):
    """`max_lost_work` asks the age itself, whatever moves came out at."""
    old = make.candidate(leader=make.process(500, age_s=7000.0), restart_safe=False)
    rule = make.rule(select=replace(make.rule().select, restart_safe=("work.py",)))
    known = {(RESTART, None): Correction(LEAST, LEAST, 9, 9)}
    [way] = ways(old, (RESTART,), rule, known)
    assert way.blocked.reason == "LOSES_TOO_MUCH"
