"""Sums over devices: what Prometheus' rate() makes of them is right whatever happens to a device."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.totals import _REMEMBERED, DeviceTotals


def test_what_was_counted_before_the_first_look_is_left_out():
    """After a restart the sum begins at 0, so that rate() sees a restart and no jump."""
    totals = DeviceTotals()
    assert totals.add({"a": (1000, 5)}, 2) == (0, 0)
    assert totals.add({"a": (1010, 6)}, 2) == (10, 1)


def test_a_device_that_vanishes_takes_nothing_with_it():
    """A stick pulled out; plugged in again it counts from 0 and goes on top."""
    totals = DeviceTotals()
    totals.add({"a": (100,), "usb": (50,)}, 1)
    assert totals.add({"a": (101,), "usb": (57,)}, 1) == (8,)
    assert totals.add({"a": (101,)}, 1) == (8,)
    assert totals.add({"a": (101,), "usb": (3,)}, 1) == (11,)


def test_a_device_with_a_past_of_its_own_counts_from_its_first_sight():
    """A network card that comes back from another namespace brings terabytes that are not of this moment."""
    totals = DeviceTotals()
    totals.add({"a": (100,)}, 1)
    assert totals.add({"a": (100,), "moved": (10**12,)}, 1) == (0,)
    assert totals.add({"a": (100,), "moved": (10**12 + 5,)}, 1) == (5,)


def test_a_device_that_was_away_for_a_moment_goes_on():
    """The same card with the same counters: what it did meanwhile counts once."""
    totals = DeviceTotals()
    totals.add({"a": (100,)}, 1)
    totals.add({}, 1)
    assert totals.add({"a": (130,)}, 1) == (30,)


def test_one_counter_that_wraps_leaves_the_others_of_its_device():
    """The busy time of a disk is 32 bits of milliseconds."""
    totals = DeviceTotals()
    totals.add({"a": (7, 2**32 - 1)}, 2)
    assert totals.add({"a": (9, 4)}, 2) == (2, 4)


def test_names_that_never_come_back_are_forgotten():
    """Containers make up a new interface name each time."""
    totals = DeviceTotals()
    for number in range(3 * _REMEMBERED):
        totals.add({f"veth{number}": (number,)}, 1)
    assert len(totals._last) <= _REMEMBERED + 1


READING = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 2**64), st.integers(0, 2**64)), max_size=4)


@given(readings=st.lists(READING, max_size=20))
def test_sums_never_run_backwards(readings):
    totals = DeviceTotals()
    sums = [totals.add(reading, 2) for reading in readings]
    for counter in zip(*sums, strict=True):
        assert list(counter) == sorted(counter)
