"""What came out of a fault, by the witness's records alone: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from _testbed import witness_report

from _faults.expected import Ends
from _faults.ways import STATES

__all__ = ["LIMIT_S", "Outcome", "broken", "outcome", "state_at"]

LIMIT_S = 60.0
"""safety.md, Hand-off 10: exactly one copy again within 60 s of any fault."""

SHORT_GAP_S = 0.075
"""Silence that means frozen: a hand-off may freeze for little more than a period of the load."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What the witness saw of one load.

    Attributes:
        copies: every copy that executed, by its node, in order.
        overlaps: pairs of copies that executed at once.
        running: nodes of the copies that execute at the end.
        again_s: from the fault to the first sign of life of the copy that runs in the end; None without one.
    """

    copies: tuple[str, ...]
    overlaps: int
    running: tuple[str, ...]
    again_s: float | None


def outcome(records: Sequence[Record], fault_t: float, now: float) -> Outcome:
    """Judge one load's records; `fault_t`: Unix time from which the seconds count."""
    report = witness_report.report(records, now, SHORT_GAP_S)
    running = [entry for entry in report["chain"] if entry["running"]]
    again = None
    if len(running) == 1:
        copy = (running[0]["start_id"], running[0]["node"])
        mine = (one["t"] for one in records if (one["start_id"], one["node"]) == copy and one["t"] >= fault_t)
        again = next(mine, now) - fault_t
    copies = tuple(entry["node"] for entry in report["chain"])
    return Outcome(copies, report["overlaps"], tuple(entry["node"] for entry in running), again)


def state_at(timeline: Sequence[Record], t: float) -> str | None:
    """The last state on its way that a move had reached at that time (Unix seconds); None: nothing is known of it."""
    passed = [step["event"] for step in timeline if step["t"] <= t]
    return next((state for state in reversed(STATES) if state in passed), None)


def broken(seen: Outcome, ends: Ends, state: str | None, job_state: str | None) -> list[str]:
    """Which invariants do not hold, as sentences; empty: all of them do.

    Args:
        seen: by the witness.
        ends: what is allowed.
        state: the move's final state; None when it has none.
        job_state: what is said of the job.
    """
    found = []
    if seen.overlaps:
        found.append(f"{seen.overlaps} pairs of copies executed at once")
    if state is None:
        found.append("the move has no end")
    elif state not in ends.states:
        found.append(f"the move is {state}, expected {' or '.join(sorted(ends.states))}")
    if len(seen.running) not in ends.copies:
        found.append(
            f"{len(seen.running)} copies run in the end, expected {' or '.join(map(str, sorted(ends.copies)))}"
        )
    elif seen.running and seen.running[0] not in ends.nodes:
        found.append(f"it runs on {seen.running[0]}, expected {' or '.join(sorted(ends.nodes))}")
    elif not seen.running and job_state not in ends.over:
        found.append(f"nothing runs, and its job is said to be {job_state}")
    if seen.again_s is not None and seen.again_s > LIMIT_S:
        found.append(f"one copy again only after {seen.again_s:.0f} s")
    return found
