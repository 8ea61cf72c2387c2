"""From signs of life to a standstill."""

import pytest

from benchmarks.errors import CannotRunError
from benchmarks.live_move.witnessed import stood_still_s


def seen(node, *times, start_id="a"):
    return [{"node": node, "t": t, "start_id": start_id} for t in times]


def test_it_is_between_the_last_sign_there_and_the_first_here():
    """Whatever order they are read in; other gaps do not count."""
    records = seen("here", 5.5, 12.0) + seen("there", 1.0, 4.9, 5.0)
    assert stood_still_s(records, "there", "here") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (seen("there", 1.0), "not seen on here"),
        (seen("here", 1.0), "not seen on there"),
        ([], "not seen on there"),
        (seen("there", 1.0) + seen("here", 2.0, start_id="b"), "started anew"),
        (seen("there", 1.0, 2.1) + seen("here", 2.0), "at once"),
    ],
)
def test_what_is_no_move_is_no_measurement(records, words):
    with pytest.raises(CannotRunError, match=words):
        stood_still_s(records, "there", "here")
