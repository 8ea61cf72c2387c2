"""Restart: the same command again, from the start, elsewhere.

Harmless only where running again from the start is (safety.md, Selection): the engine asks for that declaration, not
this file. The original stays frozen until the successor owns the work, so nothing is lost before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offloader.model import Candidate, Obstacle, Process, Reason, StrategyName
from offloader.strategies.base import Source

__all__ = ["Restart"]

_SETTLE_MIN_S = 5.0
_SETTLE_MAX_S = 60.0
_SETTLE_SHARE = 0.05


class Restart:
    """Starts the job's leader again from its capsule."""

    name = StrategyName.RESTART

    def obstacles(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[Obstacle, ...]:
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

    async def save(self, source: Source) -> None:
        """Nothing travels; the writable files are recorded, so that a roll-back knows whether it may thaw."""
        await source.record_files()

    def settle_s(self, age_s: float) -> float:
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
