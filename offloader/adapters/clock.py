"""The machine's clocks."""

from __future__ import annotations

import asyncio
import time

__all__ = ["SystemClock"]


class SystemClock:
    """ports.Clock by clock_gettime(2)."""

    def time(self) -> float:
        """Unix seconds; may jump when somebody sets the clock."""
        return time.time()

    def boottime(self) -> float:
        """CLOCK_BOOTTIME seconds: counts on while the machine sleeps, never jumps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
