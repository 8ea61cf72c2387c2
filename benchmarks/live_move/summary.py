"""What was measured, in a few figures, and whether the goal holds. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.live_move.ways import BY_HAND, Way

GOAL = 1.1
"""Ours to the best way by hand, at most."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How long one program stood still, in seconds; of ours also how long the move was in each state meanwhile."""

    stood_still_s: float
    steps_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """Programs of one size. MiB of memory that they touched."""

    mebibytes: int
    seconds: float
    stops: Mapping[Way, Sequence[Stop]]

    def median_s(self, way: Way) -> float:
        """Of the seconds that programs stood still."""
        return median(stop.stood_still_s for stop in self.stops[way])

    def steps_s(self) -> dict[str, float]:
        """Of each state of our moves, the median."""
        names = dict.fromkeys(name for stop in self.stops[Way.OURS] for name in stop.steps_s)
        return {name: median(stop.steps_s.get(name, 0.0) for stop in self.stops[Way.OURS]) for name in names}

    @property
    def best_by_hand(self) -> Way:
        """The one that keeps programs waiting the least."""
        return min(BY_HAND, key=self.median_s)

    @property
    def ratio(self) -> float:
        """Ours to the best by hand."""
        return self.median_s(Way.OURS) / self.median_s(self.best_by_hand)

    @property
    def holds(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio <= GOAL
