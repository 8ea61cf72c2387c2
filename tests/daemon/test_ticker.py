"""The loop: at a fixed rate, one at a time, through errors, and at once when asked."""

import asyncio
from collections.abc import Callable

import pytest

from offloader.daemon.ticker import Ticker


class StepClock:
    """Time that passes only while somebody sleeps, and then at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asleep = asyncio.Event()

    def time(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await asyncio.sleep(0)
        self.now += seconds


class FrozenClock(StepClock):
    """Time that does not pass: only nudges wake the loop."""

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await asyncio.Event().wait()
        self.now += seconds


async def run_until(ticker: Ticker, condition: Callable[[], bool]) -> None:
    task = asyncio.create_task(ticker.run())
    try:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_ticks_come_at_a_fixed_rate_whatever_they_take() -> None:
    clock, times = StepClock(), []

    async def tick() -> None:
        times.append(clock.now)
        clock.now += 2.0

    ticker = Ticker(tick, clock, lambda: 5.0)
    await run_until(ticker, lambda: len(times) == 4)
    assert times == [1000.0, 1005.0, 1010.0, 1015.0]
    assert ticker.beat.missed == 0
    assert ticker.beat.took_s == 2.0


async def test_a_tick_that_takes_too_long_makes_others_missed_not_late() -> None:
    clock, times = StepClock(), []

    async def tick() -> None:
        times.append(clock.now)
        clock.now += 12.0 if len(times) == 1 else 0.0

    ticker = Ticker(tick, clock, lambda: 5.0)
    await run_until(ticker, lambda: len(times) == 3)
    assert times == [1000.0, 1015.0, 1020.0]
    assert ticker.beat.missed == 2


async def test_an_error_ends_its_tick_only_and_is_told(caplog) -> None:
    clock, count = StepClock(), [0]

    async def tick() -> None:
        count[0] += 1
        if count[0] == 1:
            raise ZeroDivisionError("by chance")

    ticker = Ticker(tick, clock, lambda: 5.0)
    seen = []

    def ended() -> bool:
        seen.append(ticker.beat.error)
        return ticker.beat.ticks == 2

    await run_until(ticker, ended)
    assert "ZeroDivisionError: by chance" in seen
    assert (ticker.beat.error, ticker.beat.failed) == (None, 1)
    assert "by chance" in caplog.text


async def test_a_nudge_ticks_at_once_and_waits_for_the_end() -> None:
    clock, ticks = FrozenClock(), []

    async def tick() -> None:
        ticks.append(len(ticks))

    ticker = Ticker(tick, clock, lambda: 5.0)
    task = asyncio.create_task(ticker.run())
    await clock.asleep.wait()
    assert ticks == [0]
    assert await ticker.now()
    assert ticks == [0, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_nudge_during_a_tick_waits_for_the_next_one() -> None:
    """A tick that began before the change cannot have seen it."""
    clock, started, release, ticks = FrozenClock(), asyncio.Event(), asyncio.Event(), []

    async def tick() -> None:
        ticks.append(len(ticks))
        started.set()
        await release.wait()

    ticker = Ticker(tick, clock, lambda: 5.0)
    task = asyncio.create_task(ticker.run())
    await started.wait()
    nudged = asyncio.create_task(ticker.now())
    await asyncio.sleep(0)
    release.set()
    assert await nudged
    assert ticks == [0, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_nudge_says_when_it_was_not_served_in_time() -> None:
    ticker = Ticker(lambda: asyncio.sleep(0), FrozenClock(), lambda: 5.0)
    assert await ticker.now(timeout_s=0.02) is False
