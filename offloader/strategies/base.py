"""What every strategy is: the part of the hand-off that differs, between *frozen* and *proven*.

A strategy never signals a process and never talks to a node by itself: it asks the source's guard through `Source`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from offloader.model import Candidate, Checkpointing, Obstacle, Reason, StrategyName

__all__ = ["Source", "Strategy"]


class Source(Protocol):
    """What a strategy may ask for at the source, through the guard that holds the original."""

    async def record_files(self) -> int:
        """Remember every writable regular file of the frozen job; returns how many. Raises Stopped."""

    async def checkpoint(self, how: Checkpointing) -> str:
        """Ask the running job to save its state and end; returns by what it showed that it did.

        Raises Stopped: NOT_SAVED (it has not ended in time, and may later), NO_CHECKPOINT, ORIGINAL_GONE.
        """

    async def copy(self) -> str:
        """Copy the frozen job, memory and all; its image is at the target when this returns. In words, what it holds.

        Raises Stopped.
        """


class Strategy(Protocol):
    """One way to get a job's work from one attempt to the next."""

    @property
    def name(self) -> StrategyName:
        """How rules, command line and metrics call it."""

    @property
    def freezes(self) -> bool:
        """Whether the original is frozen before `save`. One that saves by itself needs to run for it."""

    @property
    def copies(self) -> bool:
        """Whether the successor is restored from an image of the original. It stays stopped until that has ended."""

    @property
    def lifts(self) -> frozenset[Reason]:
        """What the target may find in the way that will be gone by the time the successor starts."""

    def state_in(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[bytes, ...]:
        """Directories that the successor goes on from: they have to be the very same ones at the target."""

    def obstacles(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[Obstacle, ...]:
        """What forbids this strategy for this job, given what `launcher capture` saw of its leader."""

    async def save(self, source: Source, candidate: Candidate) -> str:
        """To *saved*: keep what the successor, or the roll-back, will need. Returns what was kept, in words.

        Raises Stopped.
        """

    def settle_s(self, age_s: float) -> float:
        """How long the successor must live before it counts as proven, seconds, for a job of that age."""
