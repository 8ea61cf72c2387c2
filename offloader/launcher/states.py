"""Both roles' states and every transition that exists; entering a state any other way is a bug, and says so."""

from __future__ import annotations

__all__ = ["GUARD", "HOLD", "Machine"]

HOLD: dict[str, frozenset[str]] = {
    "": frozenset({"held", "failed"}),
    "held": frozenset({"launched", "aborted", "failed"}),
    "launched": frozenset({"proven", "aborted", "failed"}),
    "proven": frozenset({"owned", "aborted", "failed"}),
    "owned": frozenset({"exited"}),
    "exited": frozenset(),
    "aborted": frozenset(),
    "failed": frozenset(),
}
"""The target: from `held` on nothing runs, from `launched` on a lease decides, from `owned` on the job alone does."""

GUARD: dict[str, frozenset[str]] = {
    "": frozenset({"armed"}),
    "armed": frozenset({"freezing", "saving", "thawed", "gone"}),
    "freezing": frozenset({"frozen", "armed"}),
    "saving": frozenset({"saved", "gone"}),
    "saved": frozenset({"ended"}),
    "frozen": frozenset({"holding", "thawed", "changed", "ended", "gone"}),
    "holding": frozenset({"frozen", "ended", "gone"}),
    "changed": frozenset({"holding", "thawed", "ended", "gone"}),
    "thawed": frozenset(),
    "ended": frozenset(),
    "gone": frozenset({"ended"}),
}
"""The source: `freezing` is written before the first process stops, so that the next guard finds them all.

`saving` is written before the original is asked to save its state and end; from there it runs until it ends by itself.
"""


class Machine:
    """The present state of one role."""

    def __init__(self, table: dict[str, frozenset[str]], state: str = "") -> None:
        self._table = table
        self.state = state

    def enter(self, state: str) -> None:
        """Take a transition. Raises ValueError for one that does not exist."""
        if state not in self._table[self.state]:
            raise ValueError(f"no transition from {self.state or 'the start'} to {state}")
        self.state = state

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return not self._table[self.state]
