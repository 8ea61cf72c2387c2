"""Killing processes that may still be to come: each as soon as it is there, or some time after."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from _testbed.shell import kill

__all__ = ["Ambush", "Find"]

LONGEST_S = 60.0
LOOK_S = 0.005

Find = Callable[[], Mapping[str, list[int]]]
"""The processes to be killed that are there, by their victim, as the machine numbers them."""


class Ambush:
    """Lies in wait for a process of each victim; kill -9 `after_s` after it appeared.

    One that ended by itself in the meantime got away.
    """

    def __init__(self, find: Find, victims: Iterable[str], after_s: float = 0.0) -> None:
        self.hits: set[str] = set()
        self._find = find
        self._waiting = set(victims)
        self._seen: dict[str, float] = {}
        self._after_s = after_s
        self._over = threading.Event()
        self._deadline = time.monotonic() + LONGEST_S
        self._look()  # who is there is hit before this returns
        self._thread = threading.Thread(target=self._lie_in_wait, daemon=True)
        self._thread.start()

    @property
    def waits(self) -> bool:
        """Whether anybody is still to be hit."""
        return bool(self._waiting)

    def call_off(self) -> None:
        """Nobody is killed any more."""
        self._over.set()
        self._thread.join()

    def _lie_in_wait(self) -> None:
        while self._waiting and time.monotonic() < self._deadline and not self._over.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        there, now = self._find(), time.monotonic()
        for name in tuple(self._waiting):
            if there.get(name):
                self._seen.setdefault(name, now)
            if name not in self._seen or now < self._seen[name] + self._after_s:
                continue
            self._waiting.remove(name)
            for pid in there.get(name, ()):
                kill(pid, signal.SIGKILL)
                self.hits.add(name)
