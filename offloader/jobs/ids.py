"""Names of jobs and moves.

A job's name is a ULID (https://github.com/ulid/spec): 48 bits of Unix milliseconds and 80 random bits in Crockford's
base 32, 26 characters, sorting by time of creation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["UlidFactory", "move_id"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_TIME_LIMIT = 1 << 48


class UlidFactory:
    """Makes ULIDs that strictly ascend, also within one millisecond and when the clock steps back."""

    def __init__(self, time: Callable[[], float], randomness: Callable[[int], bytes]) -> None:
        """Args: time: Unix seconds; randomness: n → n random bytes (os.urandom)."""
        self._time = time
        self._randomness = randomness
        self._last = -1
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """The next one. Raises OverflowError in the year 10889."""
        with self._lock:
            value = int(self._time() * 1000) << _RANDOM_BITS | int.from_bytes(self._randomness(_RANDOM_BITS // 8))
            if value >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
                value = self._last + 1  # the specification's monotonic mode: count up instead of drawing again
            if value >> _RANDOM_BITS >= _TIME_LIMIT:
                raise OverflowError("the time does not fit into a ULID: is the clock set right?")
            self._last = value
        return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def move_id(t: float, pid: int) -> str:
    """What people type and see: `offload_<unix seconds>_<pid>`."""
    return f"offload_{int(t)}_{pid}"
