"""Signals as events of a selector (signal.set_wakeup_fd): nothing runs in a handler."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Iterable

__all__ = ["Wakeup"]


class Wakeup:
    """Registers itself with a selector under its own identity as data."""

    def __init__(self, selector: selectors.BaseSelector, numbers: Iterable[int]) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._selector = selector
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda _number, _frame: None)
        selector.register(self._reading, selectors.EVENT_READ, self)

    def drain(self) -> set[int]:
        """The signals that came since the last call."""
        try:
            return set(os.read(self._reading, 4096))
        except BlockingIOError:
            return set()

    def close(self) -> None:
        """Stop listening."""
        signal.set_wakeup_fd(-1)
        self._selector.unregister(self._reading)
        os.close(self._reading)
        os.close(self._writing)
