"""What strategies need that run the same command line again: restart from its beginning, checkpoint from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offloader.model import Candidate, Obstacle, Process, Reason

__all__ = ["obstacles", "settle_s"]

_SETTLE_MIN_S = 5.0
_SETTLE_MAX_S = 60.0
_SETTLE_SHARE = 0.05


def obstacles(candidate: Candidate, capture: Mapping[str, Any]) -> tuple[Obstacle, ...]:
    """A command line that was overwritten cannot be run again; nor can what the leader did not start itself."""
    found = []
    if candidate.leader.argv_rewritten or not capture.get("argv"):
        found.append(
            Obstacle(
                Reason.ARGV_REWRITTEN,
                "the process has overwritten its command line, so it cannot be run again",
                "start it through a wrapper that does not (setproctitle), or move it live",
            )
        )
    strangers = _not_descended(candidate)
    if strangers:
        names = ", ".join(f"{process.name} ({process.pid})" for process in strangers)
        found.append(
            Obstacle(
                Reason.NO_STRATEGY,
                f"{candidate.leader.name} did not start {names}: run again, it would go on without",
                "start the pipeline from a script, so that one process is the parent of all",
            )
        )
    return tuple(found)


def settle_s(age_s: float) -> float:
    """5 % of the job's age, at least 5 s, at most 60 s (safety.md, Hand-off 5)."""
    return max(_SETTLE_MIN_S, min(_SETTLE_MAX_S, _SETTLE_SHARE * age_s))


def _not_descended(candidate: Candidate) -> tuple[Process, ...]:
    """Members that are neither the leader nor below it: siblings in a pipeline that a shell started."""
    below = {candidate.leader.pid}
    waiting = list(candidate.members)
    while found := [process for process in waiting if process.pid in below or process.ppid in below]:
        below |= {process.pid for process in found}
        waiting = [process for process in waiting if process not in found]
    return tuple(waiting)
