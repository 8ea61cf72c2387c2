"""Names of jobs: valid ULIDs that sort as they were made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offloader.jobs.ids import UlidFactory, move_id


def test_a_known_time_and_known_bits_give_the_specifications_text():
    factory = UlidFactory(lambda: 1469922850.259, lambda n: b"\xff" * n)
    assert factory() == "01ARZ3NDEKZZZZZZZZZZZZZZZZ"
    assert UlidFactory(lambda: 0.0, bytes)() == "0" * 26


@given(times=st.lists(st.floats(0, 4e9), min_size=2), bits=st.binary(min_size=10, max_size=10))
def test_they_ascend_whatever_the_clock_does_and_however_fast_they_come(times, bits):
    clock = iter(times)
    factory = UlidFactory(lambda: next(clock), lambda n: bits[:n])
    made = [factory() for _ in times]
    assert made == sorted(set(made))
    assert all(len(ulid) == 26 for ulid in made)


def test_they_go_on_in_the_next_millisecond_when_the_random_part_overflows():
    factory = UlidFactory(lambda: 1.0, lambda n: b"\xff" * n)
    first, second = factory(), factory()
    assert first.endswith("Z" * 16)
    assert second == "00000000Z9" + "0" * 16
    assert first < second


def test_a_clock_beyond_what_fits_is_an_error_not_a_wrong_name():
    with pytest.raises(OverflowError, match="clock"):
        UlidFactory(lambda: 2.0**48, lambda n: b"\0" * n)()


def test_a_moves_name_holds_second_and_pid():
    assert move_id(1700000000.9, 4242) == "offload_1700000000_4242"
