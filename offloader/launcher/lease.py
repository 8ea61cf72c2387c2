"""The arithmetic of the lease: pure, time is an argument (CLOCK_BOOTTIME seconds: it goes on while a node sleeps)."""

from __future__ import annotations

import time

__all__ = ["Lease", "boottime"]


def boottime() -> float:
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Counts from the launcher's own question, never from the answer: a late answer cannot make it longer.

    The first question stands for the start: nothing is launched before it was granted, so a `go` that a broken
    network delivers late starts nothing.
    """

    def __init__(self, now: float, *, length_s: float, question_s: float) -> None:
        self._length_s = length_s
        self._question_s = question_s
        self._asked: dict[int, float] = {}
        self._next_seq = 0
        self._next_question = now
        self.granted = False
        self.expires = now + length_s

    def question(self, now: float) -> int | None:
        """The number of the question due now, if one is."""
        if now < self._next_question:
            return None
        self._next_seq += 1
        self._next_question = now + self._question_s
        self._asked[self._next_seq] = now
        self._asked = {seq: at for seq, at in self._asked.items() if at + self._length_s > now}
        return self._next_seq

    def ask_again(self, now: float) -> None:
        """Make a question due at once (a new link came up)."""
        self._next_question = now

    def grant(self, seq: object, now: float) -> None:
        """An answer; unknown numbers, late and repeated answers change nothing."""
        asked = self._asked.pop(seq, None) if isinstance(seq, int) and not isinstance(seq, bool) else None
        if asked is None or self.expired(now) or asked + self._length_s <= now:
            return
        self.granted = True
        self.expires = max(self.expires, asked + self._length_s)

    def expired(self, now: float) -> bool:
        """Whether the successor has to die."""
        return now >= self.expires

    def next_event(self) -> float:
        """When to look again."""
        return min(self._next_question, self.expires)
