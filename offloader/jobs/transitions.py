"""Which state of a move may follow which: one table, by which the journal refuses anything else.

The order is safety.md's hand-off: each state is journalled before the step that it allows. Before `owning` every state
may turn back; from `owned` on none may. Pure data, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from offloader.model import MoveState

__all__ = ["ORDER", "TRANSITIONS", "IllegalTransition", "check_transition", "may_follow", "may_roll_back"]

ORDER: tuple[MoveState, ...] = (
    MoveState.PLANNED,
    MoveState.PREFLIGHTED,
    MoveState.RESERVED,
    MoveState.QUEUED,
    MoveState.HELD,
    MoveState.FROZEN,
    MoveState.SAVED,
    MoveState.GO,
    MoveState.PROVEN,
    MoveState.OWNING,
    MoveState.OWNED,
    MoveState.ENDED,
    MoveState.DONE,
)
"""The way of a move that meets no trouble."""

_BEFORE_OWNING = ORDER[: ORDER.index(MoveState.OWNING)]

TRANSITIONS: Mapping[MoveState, frozenset[MoveState]] = MappingProxyType(
    {
        **{
            state: frozenset({following, MoveState.ROLLING_BACK})
            for state, following in zip(_BEFORE_OWNING, ORDER[1:], strict=False)
        },
        # A job that saves by itself is not frozen.
        MoveState.HELD: frozenset({MoveState.FROZEN, MoveState.SAVED, MoveState.ROLLING_BACK}),
        # Back from owning only when the launcher was proven not to own.
        MoveState.OWNING: frozenset({MoveState.OWNED, MoveState.ROLLING_BACK}),
        MoveState.OWNED: frozenset({MoveState.ENDED}),
        MoveState.ENDED: frozenset({MoveState.DONE}),
        # A roll-back may find that the original died meanwhile (its owner, the OOM killer, a reboot): then it is lost.
        MoveState.ROLLING_BACK: frozenset({MoveState.ROLLED_BACK, MoveState.LOST}),
        MoveState.DONE: frozenset(),
        MoveState.ROLLED_BACK: frozenset(),
        MoveState.LOST: frozenset(),
    }
)
"""State → the states that may follow it. Every state has an entry; the final ones have nothing in it."""


class IllegalTransition(ValueError):
    """A step that the table does not hold: a fault in the program, never something to retry."""

    def __init__(self, move_id: str, present: MoveState, wanted: MoveState) -> None:
        self.move_id = move_id
        self.present = present
        self.wanted = wanted
        allowed = ", ".join(sorted(TRANSITIONS[present])) or "nothing: it is final"
        super().__init__(f"move {move_id} is {present}: {wanted} may not follow (allowed: {allowed})")


def may_follow(present: MoveState, wanted: MoveState) -> bool:
    """Whether `wanted` may be journalled after `present`. A state never follows itself."""
    return wanted in TRANSITIONS[present]


def may_roll_back(present: MoveState) -> bool:
    """Whether a move in this state can still be cancelled by whoever asks: every state before `owning`."""
    return present in _BEFORE_OWNING


def check_transition(move_id: str, present: MoveState, wanted: MoveState) -> None:
    """Raise IllegalTransition unless `wanted` may follow `present`."""
    if not may_follow(present, wanted):
        raise IllegalTransition(move_id, present, wanted)
