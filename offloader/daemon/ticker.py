"""The loop that ticks: at a fixed rate, one tick at a time, and for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from offloader.ports import Clock

__all__ = ["Beat", "Ticker"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beat:
    """How the loop is doing. `error` is the last tick's, None when it went well; `took_s` its duration."""

    ticks: int = 0
    missed: int = 0
    failed: int = 0
    took_s: float = 0.0
    finished_t: float | None = None
    error: str | None = None


class Ticker:
    """Calls `tick` every `interval_s` seconds.

    A tick that takes longer than the interval makes the following ones late: those whose time has passed are missed,
    not made up for. An error ends its tick and never the loop.
    """

    def __init__(self, tick: Callable[[], Awaitable[None]], clock: Clock, interval_s: Callable[[], float]) -> None:
        self.beat = Beat()
        self._tick = tick
        self._clock = clock
        self._interval_s = interval_s
        self._asked = 0
        self._served = 0
        self._nudged = asyncio.Event()
        self._ticked = asyncio.Condition()

    async def run(self) -> None:
        """Tick until cancelled; the first tick is at once."""
        due, was_late = self._clock.boottime(), False
        while True:
            await self._wait_until(due)
            await self._one()
            due, late = self._next(due)
            if late and not was_late:  # a head under pressure is late all the time: once is news, the rest is a metric
                log.warning("ticks missed", extra={"missed": late, "took_s": round(self.beat.took_s, 3)})
            was_late = late > 0
            self.beat = replace(self.beat, missed=self.beat.missed + late)

    async def now(self, *, timeout_s: float = 10.0) -> bool:
        """Tick at once and wait for its end: true when a tick that began after this call has ended in time."""
        mine = self.nudge()
        try:
            async with asyncio.timeout(timeout_s), self._ticked:
                await self._ticked.wait_for(lambda: self._served >= mine)
        except TimeoutError:
            return False
        return True

    def nudge(self) -> int:
        """Tick at once, or as soon as the tick under way has ended; the number of this request."""
        self._asked += 1
        self._nudged.set()
        return self._asked

    def _next(self, due: float) -> tuple[float, int]:
        """When the next tick is due, and how many were missed meanwhile."""
        interval, now = self._interval_s(), self._clock.boottime()
        if now < due:  # a nudged one, between two regular ones
            return due, 0
        late = int((now - due) / interval)
        return due + (late + 1) * interval, late

    async def _wait_until(self, due: float) -> None:
        if self._nudged.is_set() or (left := due - self._clock.boottime()) <= 0:
            return
        sleep = asyncio.ensure_future(self._clock.sleep(left))
        nudge = asyncio.ensure_future(self._nudged.wait())
        try:
            await asyncio.wait({sleep, nudge}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            nudge.cancel()

    async def _one(self) -> None:
        self._nudged.clear()
        serving, began, error = self._asked, self._clock.boottime(), None
        try:
            await self._tick()
        except Exception as raised:  # the loop boundary: one failing tick must not end the controller
            error = f"{type(raised).__name__}: {raised}"
            log.exception("tick failed")
        before = self.beat
        self.beat = Beat(
            ticks=before.ticks + 1,
            missed=before.missed,
            failed=before.failed + (error is not None),
            took_s=self._clock.boottime() - began,
            finished_t=self._clock.time(),
            error=error,
        )
        async with self._ticked:
            self._served = serving
            self._ticked.notify_all()
