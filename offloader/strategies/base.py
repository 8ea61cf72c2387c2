"""What every strategy is: the part of the hand-off that differs, between *frozen* and *proven*.

A strategy never signals a process and never talks to a node by itself: it asks the source's guard through `Source`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from offloader.model import Candidate, Obstacle, StrategyName

__all__ = ["Source", "Strategy"]


class Source(Protocol):
    """What a strategy may ask for at the source, through the guard that holds the original."""

    async def record_files(self) -> int:
        """Remember every writable regular file of the frozen job; returns how many. Raises MoveFailed."""


class Strategy(Protocol):
    """One way to get a job's work from one attempt to the next."""

    @property
    def name(self) -> StrategyName:
        """How rules, command line and metrics call it."""

    def obstacles(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[Obstacle, ...]:
        """What forbids this strategy for this job, given what `launcher capture` saw of its leader."""

    async def save(self, source: Source) -> None:
        """From *frozen* to *saved*: keep what the successor, or the roll-back, will need. Raises MoveFailed."""

    def settle_s(self, age_s: float) -> float:
        """How long the successor must live before it counts as proven, seconds, for a job of that age."""
