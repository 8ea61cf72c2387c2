"""Measurements that nobody made, for the parts that only count and tell."""

import pytest

from benchmarks.live_move.report import Plan, Report
from benchmarks.live_move.summary import Measured, Stop
from benchmarks.live_move.ways import Way
from benchmarks.machine import Machine


@pytest.fixture
def measured():
    """Seconds of standstill in each way; the page server is the best by hand, with 1 s."""

    def make(*ours, mebibytes=200, tar=(3.0, 2.0), rsync=(9.0, 8.0)):
        by_hand = {Way.PAGE_SERVER: (0.9, 1.0, 5.0), Way.TAR: tar, Way.RSYNC: rsync}
        stops = {Way.OURS: [Stop(one, {"frozen": one / 2, "saved": 0.01}) for one in ours]}
        stops |= {way: [Stop(one, {}) for one in seconds] for way, seconds in by_hand.items()}
        return Measured(mebibytes, 60.0, stops)

    return make


@pytest.fixture
def report():
    """Nothing measured so far."""
    machine = Machine(
        cpu="a processor", cores=2, memory_bytes=1 << 34, architecture="x86_64", kernel="6.1.0", system="Debian",
        python="3.11.2", load_average=0.1, commit=None,
    )  # fmt: skip
    return Report(machine, {"criu": "Version: 4.2.1"}, Plan(3, 5.0), "2026-01-01T00:00:00+00:00")
