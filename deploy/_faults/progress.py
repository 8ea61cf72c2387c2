"""How far a load is must never go back further than its strategy allows: by the witness's records alone."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from _faults.expected import Ends
from _faults.ways import CHECKPOINT, LIVE, RESTART

__all__ = ["kept"]

MISSED = 40
"""Signs of life in a row that the witness may miss on a busy machine: two seconds' worth."""

Record = dict[str, Any]


def kept(strategy: str, records: Sequence[Record], ends: Ends) -> list[str]:
    """What a copy has lost that it must not have, as sentences; empty: nothing.

    Args:
        strategy: of the move.
        records: of one load.
        ends: what is allowed.
    """
    lives: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda one: one["t"]):
        if record["leader"]:
            lives.setdefault(record["start_id"], []).append(record)
    return RULES[strategy](list(lives.values()), ends)


def _of_restarted(_: Sequence[Sequence[Record]], __: Ends) -> list[str]:
    """It begins anew: nothing to keep."""
    return []


def _of_saved(lives: Sequence[Sequence[Record]], _: Ends) -> list[str]:
    """Every copy goes on from what one before it saved last, and from nowhere else."""
    found = []
    for number, life in enumerate(lives[1:], start=1):
        before = [record for other in lives[:number] for record in other]
        saved = max((record.get("saved", 0) for record in before), default=0)
        reached = max(record["seq"] for record in before)
        first = life[0]["seq"]
        if not saved < first <= reached + MISSED:
            found.append(
                f"the copy on {life[0]['node']} begins at {first}: {saved} was saved, and {reached} was reached"
            )
    return found


def _of_restored(lives: Sequence[Sequence[Record]], ends: Ends) -> list[str]:
    """It goes on wherever it was, without a gap and without a step taken twice."""
    found = [
        f"its state went from {before['seq']} on {before['node']} to {after['seq']} on {after['node']}"
        for life in lives
        for before, after in pairwise(life)
        if not 0 < after["seq"] - before["seq"] <= MISSED
    ]
    if len(lives) > 1 and not ends.again:
        found.append(f"it was started again on {', '.join(life[0]['node'] for life in lives[1:])}: its memory is lost")
    return found


RULES: Mapping[str, Callable[[Sequence[Sequence[Record]], Ends], list[str]]] = {
    RESTART.name: _of_restarted,
    CHECKPOINT.name: _of_saved,
    LIVE.name: _of_restored,
}
