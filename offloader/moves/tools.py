"""What a hand-off works with, handed in once by the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from offloader.backends.base import Backend
from offloader.jobs.store import Store
from offloader.model import Move, MoveState, Reason, StrategyName
from offloader.moves.agent import Agent
from offloader.moves.plan import Timings
from offloader.ports import Clock
from offloader.strategies.base import Strategy

__all__ = ["Capsules", "Forbidden", "Tools"]

Forbidden = Callable[[Move], tuple[Reason, str] | None]
"""Asked before every irreversible step: may this move still go on? (kill-switch, `auto --disable`)"""


class Capsules(Protocol):
    """Capsules on the head, readable by the controller alone, kept until their job ends."""

    def put(self, job: str, capsule: bytes) -> None:
        """Keep it, durably."""

    def get(self, job: str) -> bytes | None:
        """The capsule, None when there is none."""

    def drop(self, job: str) -> None:
        """The job ended."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The outside of a hand-off."""

    store: Store
    clock: Clock
    agents: Mapping[str, Agent]
    backends: Mapping[str, Backend]
    strategies: Mapping[StrategyName, Strategy]
    capsules: Capsules
    forbidden: Forbidden
    timings: Timings = field(default_factory=Timings)
    on_transition: Callable[[Move, MoveState], None] = lambda _move, _before: None
