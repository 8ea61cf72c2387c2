"""What earlier moves say of estimates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.classify import ProcessClass
from offloader.model.resources import StrategyName

__all__ = ["Correction", "Corrections"]


@dataclass(frozen=True, slots=True)
class Correction:
    """Outcome over estimate of earlier moves: what an estimate is multiplied by. `samples`: on so many receipts.

    Each factor has its own number of samples; 1.0 with none, or too few of them.
    """

    work_lost: float = 1.0
    downtime: float = 1.0
    work_lost_samples: int = 0
    downtime_samples: int = 0


Corrections = Mapping[tuple[StrategyName, ProcessClass | None], Correction]
"""By strategy and class of work; the class None stands for the strategy as a whole."""
