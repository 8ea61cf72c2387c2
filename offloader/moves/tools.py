"""What a hand-off works with, handed in once by the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from offloader.backends.base import Backend
from offloader.jobs.store import Store
from offloader.model import Capacity, Move, MoveState, Obstacle, Reason, StrategyName
from offloader.moves.agent import Agent
from offloader.moves.incidents import Incident
from offloader.moves.plan import Timings
from offloader.moves.preflight import Preflight
from offloader.moves.respawn import Newcomers, nobody
from offloader.moves.staging import Staging
from offloader.ports import Clock
from offloader.strategies.base import Strategy

__all__ = ["Capsules", "Forbidden", "Place", "Placer", "Tools"]

Forbidden = Callable[[Move | None], tuple[Reason, str] | None]
"""Asked before every irreversible step: may this move still go on? (kill-switch, `auto --disable`)

None: of a job that `run` starts, to which only what stops everything applies.
"""


class Capsules(Protocol):
    """Capsules on the head, readable by the controller alone, kept until their job ends."""

    def put(self, job: str, capsule: bytes) -> None:
        """Keep it, durably."""

    def get(self, job: str) -> bytes | None:
        """The capsule, None when there is none."""

    def drop(self, job: str) -> None:
        """The job ended."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node for a job that starts again, and what the node offers before the ledger's reservations."""

    node: str
    available: Capacity


class Placer(Protocol):
    """Finds a place for a job that starts again, by the engine's rules and what is known right now."""

    def __call__(
        self, source: str, usage: Capacity, needs: Capacity, *, avoid: frozenset[str], only: str | None = None
    ) -> Place | Obstacle:
        """A worker, one not in `avoid` where there is any; else what is in the way. Never `source`.

        With `only` that worker or none.
        """


def nowhere(
    source: str, usage: Capacity, needs: Capacity, *, avoid: frozenset[str], only: str | None = None
) -> Place | Obstacle:
    """The Placer of a controller that knows no worker."""
    del source, usage, needs, avoid, only
    return Obstacle(Reason.NO_TARGET, "no worker is known")


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
    preflight: Preflight
    head: str
    staging: Staging | None = None  # None: working directories are never copied
    timings: Timings = field(default_factory=Timings)
    on_transition: Callable[[Move, MoveState], None] = lambda _move, _before: None
    placer: Placer = nowhere
    newcomers: Newcomers = nobody
    on_incident: Callable[[Incident], None] = lambda _incident: None
