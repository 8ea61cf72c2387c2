"""An event loop in which waiting costs nothing: when nobody has anything to do, it is the time of the next timer."""

import asyncio
import selectors
from typing import Any

BOOTED_T = 1_700_000_000.0


class _NoWaiting(selectors.SelectSelector):
    """Nothing is ever read or written: there are timers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits, and for nothing")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Deterministic: one thread, no files, and time that is counted."""

    def __init__(self) -> None:
        self._virtual = _NoWaiting()
        self._tasks: list[asyncio.Task[Any]] = []
        super().__init__(self._virtual)

    def create_task(self, *arguments: Any, **more: Any) -> asyncio.Task[Any]:
        self._tasks = [one for one in self._tasks if not one.done()]
        self._tasks.append(super().create_task(*arguments, **more))
        return self._tasks[-1]

    async def all_others_end(self) -> None:
        """Every task but this one ends where it stands, the oldest first."""
        tasks = [one for one in self._tasks if not one.done() and one is not asyncio.current_task()]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def time(self) -> float:
        return self._virtual.now


class VirtualClock:
    """ports.Clock of such a loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        return BOOTED_T + self._loop.time()

    def boottime(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
