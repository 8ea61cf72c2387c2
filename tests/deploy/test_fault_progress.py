"""What the judge says of how far a load is: a gap, a step back, a start that nobody allowed."""

import pytest
from _faults.expected import ENDS, expected
from _faults.progress import MISSED, kept

AGAIN, HERE = ENDS["again"], ENDS["here"]
UNDECLARED = expected("live", "launcher-kill", "owned", declared=False)


def life(start_id, first, last, *, t, node="gpu-master", saved=None, leader=True):
    """A copy's signs of life from `first` to `last`, 20 a second from `t` on; `saved`: what it says that it saved."""
    told = {} if saved is None else {"saved": saved}
    return [
        {"start_id": start_id, "node": node, "seq": seq, "t": t + position * 0.05, "leader": leader, **told}
        for position, seq in enumerate(range(first, last + 1))
    ]


def test_what_goes_on_elsewhere_from_where_it_was_lost_nothing():
    assert kept("live", life("a", 1, 50, t=0) + life("a", 51, 90, t=9, node="gpu1"), HERE) == []


def test_records_come_in_any_order():
    assert kept("live", life("a", 51, 90, t=9, node="gpu1") + life("a", 1, 50, t=0), HERE) == []


@pytest.mark.parametrize("first", [50, 30, 51 + MISSED])
def test_a_restored_copy_that_is_not_where_the_original_stopped_is_found(first):
    (sentence,) = kept("live", life("a", 1, 50, t=0) + life("a", first, 99, t=9, node="gpu1"), HERE)
    assert sentence == f"its state went from 50 on gpu-master to {first} on gpu1"


def test_two_copies_of_one_moment_are_found_on_one_node_too():
    assert kept("live", life("a", 1, 50, t=0) + life("a", 1, 50, t=0.01), HERE)


def test_children_have_a_count_of_their_own():
    assert kept("live", life("a", 1, 50, t=0) + life("a", 1, 50, t=0.01, leader=False), HERE) == []


def test_memory_is_lost_only_where_that_is_allowed():
    again = life("a", 1, 50, t=0) + life("b", 1, 9, t=9, node="gpu2")
    assert kept("live", again, AGAIN) == []
    for ends in (HERE, UNDECLARED):
        assert kept("live", again, ends) == ["it was started again on gpu2: its memory is lost"]


def test_what_goes_on_from_its_checkpoint_lost_what_came_after_and_no_more():
    original = life("a", 1, 50, t=0, saved=45)
    assert kept("checkpoint", original + life("b", 46, 60, t=9), AGAIN) == []
    assert kept("checkpoint", original + life("b", 51, 60, t=9), AGAIN) == []
    assert kept("checkpoint", original + life("b", 45, 60, t=9), AGAIN) == [
        "the copy on gpu-master begins at 45: 45 was saved, and 50 was reached"
    ]


def test_the_checkpoint_of_any_copy_before_counts():
    two = life("a", 1, 50, t=0, saved=45) + life("b", 46, 80, t=9, saved=75)
    assert kept("checkpoint", two + life("c", 76, 99, t=20), AGAIN) == []
    assert kept("checkpoint", two + life("c", 46, 99, t=20), AGAIN)


def test_a_copy_that_begins_where_nobody_was_is_found():
    assert kept("checkpoint", life("a", 1, 50, t=0, saved=45) + life("b", 500, 510, t=9), AGAIN)


def test_a_restart_has_nothing_to_keep():
    assert kept("restart", life("a", 1, 50, t=0) + life("b", 1, 9, t=9), HERE) == []


@pytest.mark.parametrize("strategy", ["restart", "checkpoint", "live"])
def test_nothing_was_seen(strategy):
    assert kept(strategy, [], HERE) == []
