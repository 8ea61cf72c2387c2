"""What a move's own states say of the standstill."""

import pytest

from benchmarks.live_move.measure import steps_s


def test_steps_begin_with_the_freeze():
    times = {"planned": 1.0, "held": 3.0, "frozen": 4.0, "saved": 4.5, "go": 4.75, "done": 5.0}
    move = {"timeline": [{"event": event, "t": t} for event, t in times.items()]}
    assert steps_s(move) == pytest.approx({"frozen": 0.5, "saved": 0.25, "go": 0.25})
