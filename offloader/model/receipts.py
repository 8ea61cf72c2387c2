"""What a move was worth and what it cost: expected when it was decided, and as it came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.classify import ProcessClass
from offloader.model.corrections import Correction
from offloader.model.decisions import Reading
from offloader.model.resources import Resource, StrategyName
from offloader.model.work import MoveState

__all__ = ["Decided", "Estimate", "Figure", "Loss", "Pressures", "Receipt"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a move was expected to cost and to bring, with the numbers that this was made from.

    `work_lost_s` and `downtime_s` are as the formulas give them, before `correction`; `expected_…` after it. `relieves`
    is the share of its node that the job used, `age_s` its age, `usage` what it used.
    """

    work_lost_s: float
    downtime_s: float
    age_s: float
    memory_bytes: int
    cores: float
    gpu_memory_bytes: int = 0
    relieves: Mapping[Resource, float] = field(default_factory=dict)
    correction: Correction = field(default_factory=Correction)

    @property
    def expected_work_lost_s(self) -> float:
        """After correction, seconds."""
        return self.work_lost_s * self.correction.work_lost

    @property
    def expected_downtime_s(self) -> float:
        """After correction, seconds."""
        return self.downtime_s * self.correction.downtime


@dataclass(frozen=True, slots=True)
class Pressures:
    """A node as Prometheus showed it at `t` (Unix seconds). `rule`: the value of the rule that asked."""

    t: float
    readings: Mapping[Resource, Reading]
    rule: Reading | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What was known when a move was decided. `threshold` and `relief`: those of the rule that asked, in force then."""

    process_class: ProcessClass
    before: Pressures
    estimate: Estimate
    threshold: float | None = None
    relief: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that came out, in the unit of its name; None: not known, and `note` says why.

    `at_most`: an upper bound, and `note` says why it is no more than that.
    """

    value: float | None
    note: str = ""
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """One move that is over. Written once, when all of it is known.

    `after` is None where the work did not leave its source. `steps`: how long the move was in each state, in order.
    `beside`: other moves off the same node whose effect the pressures hold as well.
    """

    move: str
    job: str
    strategy: StrategyName
    outcome: MoveState
    source: str
    rule: str | None
    t: float
    decided: Decided
    after: Pressures | None
    downtime_s: Figure
    work_lost_s: Figure
    bytes_moved: Figure
    steps: tuple[tuple[MoveState, float], ...]
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loss:
    """Work of a moved job that was lost after its move: an attempt ended, and what it had done was done again.

    `since` says from where on: "checkpoint" or "start"; "" while that is not known. `epoch` is the attempt that ended,
    `again` the node on which the work was taken up, None while it was not.
    """

    epoch: int
    node: str
    t: float
    work_lost_s: Figure
    since: str
    again: str | None
