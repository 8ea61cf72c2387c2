"""What nodes have, lend and are asked for; how far a rule may go; how work travels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Capacity", "Mode", "Reservation", "ReservationKind", "Resource", "Role", "StrategyName", "Truth"]


class Resource(StrEnum):
    """What a node can be short of."""

    CPU = "cpu"
    MEMORY = "memory"
    GPU = "gpu"


class Role(StrEnum):
    """What a node is for: pressure on the head triggers, workers are destinations only."""

    HEAD = "head"
    WORKER = "worker"


class Mode(StrEnum):
    """How far a rule may go by itself. Ordered: the effective mode is the lower of rule and ceiling."""

    OBSERVE = "observe"
    ADVISE = "advise"
    APPROVE = "approve"
    AUTO = "auto"

    @property
    def rank(self) -> int:
        """Position in observe < advise < approve < auto."""
        return list(Mode).index(self)

    def capped(self, ceiling: Mode) -> Mode:
        """The lower one of this mode and the ceiling."""
        return self if self.rank <= ceiling.rank else ceiling

    def allows(self, least: Mode | None) -> bool:
        """Whether this ceiling is as high as something needs; None needs none."""
        return least is None or self.rank >= least.rank


class Truth(StrEnum):
    """A rule's answer for one node; unknown never moves anything."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


class StrategyName(StrEnum):
    """How a job's work gets from one attempt to the next."""

    RESTART = "restart"
    CHECKPOINT = "checkpoint"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Capacity:
    """An amount of every resource: needed, used, offered or reserved."""

    cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0
    gpu_memory_bytes: int = 0

    def __add__(self, other: Capacity) -> Capacity:
        return Capacity(
            self.cores + other.cores,
            self.memory_bytes + other.memory_bytes,
            self.gpus + other.gpus,
            self.gpu_memory_bytes + other.gpu_memory_bytes,
        )

    def __sub__(self, other: Capacity) -> Capacity:
        """What is left, never below nothing."""
        return Capacity(
            max(0.0, self.cores - other.cores),
            max(0, self.memory_bytes - other.memory_bytes),
            max(0, self.gpus - other.gpus),
            max(0, self.gpu_memory_bytes - other.gpu_memory_bytes),
        )

    def fits(self, within: Capacity) -> bool:
        """Whether this amount is available within the other one (a millicore of rounding is forgiven)."""
        return (
            self.cores <= within.cores + 1e-3
            and self.memory_bytes <= within.memory_bytes
            and self.gpus <= within.gpus
            and self.gpu_memory_bytes <= within.gpu_memory_bytes
        )


class ReservationKind(StrEnum):
    """What capacity is held for."""

    MOVE = "move"
    ALLOCATION = "allocation"
    BOOST = "boost"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Capacity of one node that is held for one holder (a move's or job's id); the ledger's entry."""

    id: str
    node: str
    amount: Capacity
    holder: str
    kind: ReservationKind
    created_t: float
