"""What a move cost and was worth: known, bounded, or unknown with the reason; never guessed, never negative."""

from dataclasses import replace

import pytest
import receipts
from hypothesis import given, settings
from hypothesis import strategies as st
from receipts import CPU, MEMORY, T, attempt, decided, move, pressures, reading, record, steps

from offloader.jobs.receipt import compose, judged, later_losses, settled
from offloader.model import (
    AttemptState,
    Completion,
    Figure,
    Job,
    JobState,
    MoveState,
    Reason,
    StrategyName,
)

JOB = Job("01J", "anna", 1000, "train.py", T - 600)
BACK = (MoveState.ROLLING_BACK, MoveState.ROLLED_BACK)
FROZEN = (MoveState.PLANNED, MoveState.HELD, MoveState.FROZEN)
LOCAL = attempt(2, node="head", backend="local")


def composed(**changes):
    return compose(record(**changes), decided(), None, beside=(), t=T + 60)


def test_a_restart_costs_its_age_at_the_freeze_and_moves_nothing():
    found = composed()
    assert found.work_lost_s == Figure(605.0)
    assert (found.downtime_s, found.bytes_moved) == (Figure(1.5), Figure(0))
    assert (found.strategy, found.outcome, found.source, found.rule) == ("restart", "done", "head", "g/cpu")


def test_every_state_but_the_last_has_its_duration():
    found = composed(steps=steps(MoveState.PLANNED, MoveState.HELD, *BACK))
    assert found.steps == ((MoveState.PLANNED, 1.0), (MoveState.HELD, 1.0), (MoveState.ROLLING_BACK, 1.0))


@pytest.mark.parametrize(
    ("strategy", "reported", "lost", "bytes_moved"),
    [
        ("live", {}, Figure(1.5), None),
        ("live", {"bytes_moved": 2_000_000}, Figure(1.5), 2_000_000),
        ("checkpoint", {"work_lost_s": 3.25, "bytes_moved": 10}, Figure(3.25), 10),
        ("restart", {"work_lost_s": 7.0}, Figure(7.0), 0),
    ],
)
def test_what_a_strategy_reports_is_what_it_cost(strategy, reported, lost, bytes_moved):
    one = move(strategy=StrategyName(strategy), **reported)
    found = composed(move=one, moves=(one,))
    assert found.work_lost_s == lost
    assert found.bytes_moved.value == bytes_moved
    assert bool(found.bytes_moved.note) is (bytes_moved is None)


def test_a_checkpoint_whose_age_nobody_reported_bounds_the_loss_by_all_since_the_start():
    one = move(strategy=StrategyName.CHECKPOINT)
    found = composed(move=one, moves=(one,)).work_lost_s
    assert (found.value, found.at_most) == (605.0, True)
    assert "when it last did is not known" in found.note


def test_work_that_came_along_live_is_lost_with_a_later_restart():
    first = move(id="first", strategy=StrategyName.LIVE)
    again = move(from_epoch=1, to_epoch=2)
    found = composed(move=again, moves=(first, again), attempts=(attempt(0), attempt(1), attempt(2)))
    assert found.work_lost_s == Figure(605.0), "since epoch 0 began, not since it came to gpu1"


def test_of_work_that_went_on_from_a_checkpoint_a_restart_loses_at_most_what_came_after():
    """It finds the checkpoint again, or a newer one."""
    again = move(from_epoch=1, to_epoch=2)
    attempts = (attempt(0), attempt(1, started_t=T - 50, resumed_t=T - 60), attempt(2))
    first = move(id="first", strategy=StrategyName.CHECKPOINT)
    found = composed(move=again, moves=(first, again), attempts=attempts).work_lost_s
    assert (found.value, found.at_most) == (55.0, True)


@pytest.mark.parametrize("states", [(MoveState.PLANNED, *BACK), (MoveState.PLANNED, MoveState.HELD, *BACK)])
def test_what_turned_back_before_it_was_stopped_cost_nothing(states):
    one = move(MoveState.ROLLED_BACK, strategy=StrategyName.LIVE, downtime_s=None)
    found = composed(move=one, moves=(one,), steps=steps(*states))
    assert (found.downtime_s, found.work_lost_s, found.bytes_moved) == (Figure(0.0), Figure(0.0), Figure(0))


def test_what_turned_back_frozen_stood_still_for_no_longer_than_its_roll_back():
    one = move(MoveState.ROLLED_BACK, downtime_s=1.5)
    found = composed(move=one, moves=(one,), steps=steps(*FROZEN, *BACK), attempts=(attempt(0), attempt(1)))
    assert (found.downtime_s.value, found.downtime_s.at_most) == (2.0, True)
    assert found.work_lost_s == Figure(0.0)


def test_what_was_started_again_by_its_roll_back_lost_its_age():
    one = move(MoveState.ROLLED_BACK, downtime_s=1.5)
    found = composed(move=one, moves=(one,), steps=steps(*FROZEN, *BACK), attempts=(attempt(0), attempt(1), LOCAL))
    assert found.work_lost_s == Figure(602.0)
    assert found.downtime_s.value is None
    assert "start again on head" in found.downtime_s.note


def test_a_later_move_to_the_same_node_is_no_start_by_the_roll_back():
    one = move(MoveState.ROLLED_BACK)
    later = move(id="later", from_epoch=0, to_epoch=2)
    found = composed(move=one, moves=(one, later), steps=steps(*FROZEN, *BACK), attempts=(attempt(0), LOCAL))
    assert found.work_lost_s == Figure(0.0)


def test_a_lost_job_lost_all_it_had_done():
    one = move(MoveState.LOST)
    found = composed(move=one, moves=(one,), steps=steps(*FROZEN, MoveState.ROLLING_BACK, MoveState.LOST))
    assert found.work_lost_s == Figure(602.0)
    assert (found.downtime_s.value, found.downtime_s.note) == (None, "it did not go on")


def test_how_long_it_stood_still_is_unknown_where_nobody_saw_it():
    one = move(downtime_s=None)
    found = composed(move=one, moves=(one,)).downtime_s
    assert found.value is None
    assert "restarted" in found.note


numbers = st.floats(-1e6, 1e6)


@settings(deadline=None, derandomize=True)
@given(started=numbers, ended=numbers, resumed=st.none() | numbers, state=st.sampled_from([*BACK[1:], MoveState.DONE]))
def test_clocks_that_disagree_make_nothing_negative(started, ended, resumed, state):
    one = move(state)
    lost = attempt(1, started_t=T + started, ended_t=T + ended, state=AttemptState.ENDED)
    held = record(
        move=one, moves=(one,), attempts=(attempt(0, started_t=T + started), lost, attempt(2, resumed_t=resumed))
    )
    found = compose(held, decided(), None, beside=(), t=T)
    figures = [found.downtime_s, found.work_lost_s, *(loss.work_lost_s for loss in later_losses(held, JOB))]
    assert all(one.value is None or one.value >= 0 for one in figures)


# After the commit


LOOK_BACKS = {CPU: 30.0, MEMORY: 0.0}


def seen(t, **changes):
    return judged(pressures(t, **changes), T, LOOK_BACKS, 30.0)


def test_a_reading_counts_once_its_whole_window_lies_after_the_commit():
    early, late = seen(T + 31.9), seen(T + 32.0)
    assert (early.readings[CPU].value, early.readings[CPU].problem) == (None, Reason.LOOK_BACK)
    assert (early.readings[MEMORY].value, early.rule.value) == (0.5, None)
    assert (late.readings[CPU].value, late.rule.value) == (0.9, 0.9)
    assert (settled(early), settled(late)) == (False, True)


def test_an_old_sample_or_one_of_unknown_age_does_not_count():
    for one in (reading(age_s=40.0), replace(reading(), age_s=None)):
        found = seen(T + 60, rule=one).rule
        assert (found.value, found.problem) == (None, Reason.LOOK_BACK)


def test_what_is_unknown_stays_so_with_its_own_reason():
    down = reading(None, problem=Reason.DOWN, detail="no answer")
    found = seen(T + 60, readings={CPU: down})
    assert found.readings[CPU] == down
    assert not settled(found)


def test_where_the_look_back_is_not_known_nothing_is_an_outcome():
    found = judged(pressures(T + 3600), T, {}, None)
    for one in (found.readings[CPU], found.rule):
        assert (one.value, one.problem) == (None, Reason.LOOK_BACK)
        assert "no recording rule" in one.detail


def test_nothing_at_all_is_not_settled():
    assert not settled(pressures(T, readings={}, rule=None))


# Later losses


VANISHED = Completion()
FAILED = Completion(exit_code=3)


def ended(epoch=1, completion=FAILED, **changes):
    return attempt(epoch, state=AttemptState.ENDED, started_t=T + 6, ended_t=T + 106, completion=completion, **changes)


def losses(*attempts, job=JOB, **changes):
    return later_losses(record(attempts=(attempt(0), *attempts), **changes), job)


def test_a_worker_that_died_cost_all_since_the_start_there():
    [loss] = losses(ended(), attempt(2, node="gpu2"))
    assert (loss.epoch, loss.node, loss.t) == (1, "gpu1", T + 106)
    assert (loss.work_lost_s, loss.since, loss.again) == (Figure(100.0), "start", "gpu2")


def test_or_since_the_checkpoint_from_which_it_went_on():
    [loss] = losses(ended(), attempt(2, node="gpu2", resumed_t=T + 96))
    assert (loss.work_lost_s, loss.since) == (Figure(10.0), "checkpoint")


def test_or_since_its_very_start_where_it_had_come_live():
    one = move(strategy=StrategyName.LIVE)
    [loss] = losses(ended(), attempt(2), move=one, moves=(one,))
    assert loss.work_lost_s == Figure(706.0)


def test_of_a_job_that_saves_a_loss_since_the_start_is_a_bound():
    one = move(strategy=StrategyName.CHECKPOINT)
    [loss] = losses(ended(), attempt(2), move=one, moves=(one,))
    assert (loss.work_lost_s.value, loss.work_lost_s.at_most) == (100.0, True)


def test_one_that_vanished_lost_at_most_what_lies_before_that_was_found():
    [loss] = losses(ended(completion=VANISHED), attempt(2))
    assert (loss.work_lost_s.value, loss.work_lost_s.at_most) == (100.0, True)
    assert "only when that was found" in loss.work_lost_s.note


def test_while_it_waits_for_a_place_what_was_lost_is_not_known():
    [loss] = losses(ended(), attempt(2, node="", pid=None, state=AttemptState.PENDING))
    assert (loss.work_lost_s.value, loss.again, loss.since) == (None, None, "")


def test_tries_that_brought_nothing_to_life_lost_nothing():
    dead = attempt(2, pid=None, state=AttemptState.ENDED, ended_t=T + 110)
    [loss] = losses(ended(), dead, attempt(3, node="gpu2"))
    assert (loss.epoch, loss.again) == (1, "gpu2")


def test_every_loss_is_told():
    found = losses(ended(), ended(2), attempt(3))
    assert [loss.epoch for loss in found] == [1, 2]


def test_a_job_that_was_lost_for_good_lost_all_it_had_done():
    [loss] = losses(ended(completion=VANISHED), job=replace(JOB, state=JobState.LOST))
    assert (loss.work_lost_s.value, loss.again) == (100.0, None)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED])
def test_an_end_is_no_loss(state):
    completion = Completion(exit_code=0) if state is JobState.SUCCEEDED else FAILED
    assert losses(ended(completion=completion), job=replace(JOB, state=state)) == ()


def test_what_came_after_the_next_move_belongs_to_that_one():
    first, second = move(), move(id="second", from_epoch=1, to_epoch=2)
    attempts = (attempt(0), ended(), ended(2), attempt(3))
    held = record(move=first, moves=(first, second), attempts=attempts)
    assert later_losses(held, JOB) == (), "the first one's attempt was ended by the second move"
    assert [one.epoch for one in later_losses(replace(held, move=second), JOB)] == [2]


def test_what_a_roll_back_ended_is_its_own_cost_and_no_later_loss():
    one = move(MoveState.ROLLED_BACK)
    assert losses(ended(), attempt(2, backend="local"), move=one, moves=(one,)) == ()


def test_a_receipt_carries_what_was_decided():
    found = compose(record(), decided(), pressures(T + 50), beside=("a",), t=T + 60)
    assert (found.decided, found.after, found.beside, found.t) == (decided(), pressures(T + 50), ("a",), T + 60)
    assert receipts.receipt().decided == decided()
