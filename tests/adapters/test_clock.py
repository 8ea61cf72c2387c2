"""The machine's clocks."""

from __future__ import annotations

import time
from pathlib import Path

from freezegun import freeze_time

from offloader.adapters.clock import SystemClock


def test_boot_time_is_the_kernels_uptime_and_wall_time_is_unix_time():
    clock = SystemClock()
    assert abs(clock.boottime() - float(Path("/proc/uptime").read_text().split()[0])) < 5
    assert abs(clock.time() - time.time()) < 5


def test_setting_the_wall_clock_does_not_touch_deadlines():
    clock = SystemClock()
    before = clock.boottime()
    with freeze_time("2001-01-01"):
        assert clock.time() == 978307200.0
        assert 0 <= clock.boottime() - before < 5


async def test_sleep_waits():
    clock = SystemClock()
    before = clock.boottime()
    await clock.sleep(0.02)
    assert clock.boottime() - before >= 0.019
