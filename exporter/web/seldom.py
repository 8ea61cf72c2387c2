"""Log lines that clients can cause at will: written once in a while, so that nobody can flood the log."""

import logging
import time
from collections.abc import Callable


class Seldom:
    """One kind of line; at most one in `seconds`, and the next one says how many were left out."""

    def __init__(self, log: logging.Logger, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._seconds = seconds
        self._clock = clock
        self._written: float | None = None
        self._left_out = 0

    def warning(self, message: str, *arguments: object) -> None:
        """As logging.Logger.warning."""
        now = self._clock()
        if self._written is not None and now - self._written < self._seconds:
            self._left_out += 1
            return
        more = f" ({self._left_out} more of these since the last line)" if self._left_out else ""
        self._log.warning(message + more, *arguments)
        self._written, self._left_out = now, 0
