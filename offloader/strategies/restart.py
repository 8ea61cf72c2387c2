"""Restart: the same command again, from the start, elsewhere.

Harmless only where running again from the start is (safety.md, Selection): the engine asks for that declaration, not
this file. The original stays frozen until the successor owns the work, so nothing is lost before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offloader.model import Candidate, Obstacle, Reason, StrategyName
from offloader.strategies import again
from offloader.strategies.base import Source

__all__ = ["Restart"]


class Restart:
    """Starts the job's leader again from its capsule."""

    name = StrategyName.RESTART
    freezes = True
    copies = False
    lifts: frozenset[Reason] = frozenset()

    def state_in(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[bytes, ...]:  # noqa: ARG002 (as above)
        """It begins anew."""
        return ()

    def obstacles(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[Obstacle, ...]:
        """A command line that was overwritten cannot be run again; nor can what the leader did not start itself."""
        return again.obstacles(candidate, capture)

    async def save(self, source: Source, candidate: Candidate) -> str:  # noqa: ARG002 (the shape of Strategy)
        """Nothing travels; the writable files are recorded, so that a roll-back knows whether it may thaw."""
        return f"{await source.record_files()} files that it writes to are remembered"

    def settle_s(self, age_s: float) -> float:
        """See again.settle_s."""
        return again.settle_s(age_s)
