"""The table of a move's states: the order of safety.md, and no state without a way out."""

from __future__ import annotations

from itertools import pairwise

import pytest

from offloader.jobs.transitions import (
    ORDER,
    TRANSITIONS,
    IllegalTransition,
    check_transition,
    may_follow,
    may_roll_back,
)
from offloader.model import MoveState

BEFORE_OWNING = ("planned", "preflighted", "reserved", "queued", "held", "frozen", "saved", "go", "proven")


def test_the_way_without_trouble_is_the_one_that_safety_demands():
    order = "planned preflighted reserved queued held frozen saved go proven owning owned ended done"
    assert [state.value for state in ORDER] == order.split()
    assert all(may_follow(here, there) for here, there in pairwise(ORDER))


def test_no_state_is_skipped_before_the_successor_owns():
    """But that a job which saves by itself is not frozen."""
    for number, here in enumerate(ORDER[: ORDER.index(MoveState.OWNING)]):
        more = {MoveState.SAVED} if here is MoveState.HELD else set()
        assert {there for there in ORDER if may_follow(here, there)} == {ORDER[number + 1], *more}


@pytest.mark.parametrize("state", MoveState)
def test_rolling_back_is_possible_until_owning_and_from_owned_on_never(state):
    assert may_follow(state, MoveState.ROLLING_BACK) == (state in (*BEFORE_OWNING, "owning"))
    assert may_roll_back(state) == (state in BEFORE_OWNING)


@pytest.mark.parametrize("state", MoveState)
def test_every_state_that_is_not_final_leads_to_an_end_and_final_ones_lead_nowhere(state):
    assert bool(TRANSITIONS[state]) == (not state.final)
    reached, ahead = {state}, [state]
    while ahead:
        new = TRANSITIONS[ahead.pop()] - reached
        reached |= new
        ahead += new
    assert any(each.final for each in reached)


def test_a_committed_move_never_ends_as_rolled_back():
    for state in (MoveState.OWNED, MoveState.ENDED):
        assert TRANSITIONS[state] <= {MoveState.ENDED, MoveState.DONE, MoveState.LOST}


def test_a_refused_step_names_the_move_both_states_and_what_is_allowed():
    with pytest.raises(
        IllegalTransition, match=r"move m1 is held: go may not follow \(allowed: frozen, rolling_back, saved\)"
    ):
        check_transition("m1", MoveState.HELD, MoveState.GO)
    with pytest.raises(ValueError, match="nothing: it is final"):
        check_transition("m1", MoveState.DONE, MoveState.DONE)
