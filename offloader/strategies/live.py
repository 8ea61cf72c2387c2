"""Live: the running processes themselves, with their memory and open files, go on elsewhere from where they are.

Nothing is run again and nothing has to be declared: what was frozen is copied, the copy is proven to be all there and
stays stopped until the original has ended. What forbids it lies in what the job has open and in how alike both nodes
are: preflight asks the launchers there (moves/likeness.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offloader.model import Candidate, Obstacle, Reason, StrategyName
from offloader.strategies.base import Source

__all__ = ["Live"]


class Live:
    """Copies the job by its guard, and restores the copy at the target."""

    name = StrategyName.LIVE
    freezes = True
    copies = True
    # What running a command again would need. What an image needs is asked for by itself, and by the same codes.
    lifts = frozenset(
        {
            Reason.NO_EXECUTABLE,
            Reason.NO_FILE,
            Reason.NO_DIRECTORY,
            Reason.TERMINAL,
            Reason.UNSUPPORTED_FD,
            Reason.LOCKED,
            Reason.TOO_LARGE,
            Reason.ARGV_REWRITTEN,
        }
    )

    def state_in(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[bytes, ...]:  # noqa: ARG002 (the shape)
        """All of its state travels."""
        return ()

    def obstacles(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[Obstacle, ...]:  # noqa: ARG002 (the shape)
        """None that shows in the leader's picture alone."""
        return ()

    async def save(self, source: Source, candidate: Candidate) -> str:  # noqa: ARG002 (the shape)
        """The image is at the target when this returns."""
        return await source.copy()

    def settle_s(self, age_s: float) -> float:  # noqa: ARG002 (the shape)
        """Restored and compared it is proven; it executes nothing before it is the only one."""
        return 0.0
