"""The figures and the verdict."""

import pytest

from benchmarks.live_move.ways import Way


def test_one_slow_round_changes_no_median(measured):
    run = measured(0.8, 0.9, 30.0)
    assert run.median_s(Way.OURS) == 0.9
    assert run.median_s(Way.PAGE_SERVER) == 1.0


def test_the_ratio_is_to_the_best_by_hand(measured):
    assert measured(0.9).best_by_hand is Way.PAGE_SERVER
    assert measured(0.9).ratio == pytest.approx(0.9)
    assert measured(0.9, tar=(0.4, 0.6, 0.5)).best_by_hand is Way.TAR
    assert measured(0.9, tar=(0.4, 0.6, 0.5)).ratio == pytest.approx(1.8)


@pytest.mark.parametrize(("ours", "holds"), [(0.5, True), (1.1, True), (1.11, False)])
def test_goal(measured, ours, holds):
    assert measured(ours).holds is holds


def test_steps_are_medians_of_ours_alone(measured):
    assert measured(0.8, 1.0, 4.0).steps_s() == {"frozen": 0.5, "saved": 0.01}
