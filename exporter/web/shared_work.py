"""Work that must not hold up the event loop: one thread, one thing at a time, equal questions share an answer."""

import asyncio
import logging
import threading
from collections.abc import Callable, Hashable
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SharedWork(Generic[Key, Result]):
    """Called from the event loop's thread only.

    The thread is a daemon of its own, not one of an executor: one that is stuck in the kernel must not keep the
    process from ending.

    Args:
        name: Of the work, for the thread and the log.
        failed: What askers get when the work raises.
        learned: Called with each result before those who asked, and also when nobody waits for it any more.
    """

    def __init__(self, name: str, failed: Result, learned: Callable[[Key, Result], None] | None = None) -> None:
        self._name = name
        self._failed = failed
        self._learned = learned
        self._askers: dict[Key, list[Callable[[Result], None]]] = {}
        self._queue: dict[Key, Callable[[], Result]] = {}
        self._busy = False
        self._started = False
        self._next: SimpleQueue[tuple[Key, Callable[[], Result]] | None] = SimpleQueue()

    def ask(self, key: Key, work: Callable[[], Result], done: Callable[[Result], None]) -> Callable[[], None]:
        """Has `done` called with the result of `work`, or of the work that runs or waits under the same key.

        Returns what withdraws the question: `done` is then not called, and work that nobody waits for is not begun.
        """
        if key not in self._askers:
            self._askers[key] = []
            self._queue[key] = work
            self._begin()
        self._askers[key].append(done)
        return partial(self._withdraw, key, done)

    def asked(self, key: Key) -> bool:
        """Whether that is being worked on, or waits for it."""
        return key in self._askers

    def askers(self, key: Key) -> int:
        """How many wait for that."""
        return len(self._askers.get(key, ()))

    def close(self) -> None:
        """Ends the thread after what it is doing."""
        self._next.put(None)

    def _begin(self) -> None:
        if self._busy or not self._queue:
            return
        if not self._started:
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._work, args=(loop,), name=self._name, daemon=True).start()
            self._started = True
        key = next(iter(self._queue))
        self._busy = True
        self._next.put((key, self._queue.pop(key)))

    def _withdraw(self, key: Key, done: Callable[[Result], None]) -> None:
        askers = self._askers.get(key, [])
        if done in askers:
            askers.remove(done)
        if not askers and self._queue.pop(key, None) is not None:
            del self._askers[key]

    def _deliver(self, key: Key, result: Result) -> None:
        self._busy = False
        askers = self._askers.pop(key)
        if self._learned is not None:
            self._learned(key, result)
        self._begin()
        for done in askers:
            done(result)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (task := self._next.get()) is not None:
            key, work = task
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 -- the boundary: whatever it was, the thread goes on
                log.error("%s failed: %s: %s", self._name, type(error).__name__, error)  # noqa: TRY400 -- one line
                result = self._failed
            try:
                loop.call_soon_threadsafe(self._deliver, key, result)
            except RuntimeError:  # the loop has ended, and with it whoever asked
                return
