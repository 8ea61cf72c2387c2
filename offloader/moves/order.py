"""What was asked of `run`, as the job's capsule keeps it: until the job is over, and in no other place.

A job that `run` started has attempts and no move: nothing was handed over. Its attempts begin with epoch 1 (epoch 0 is
a process that its user started himself).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from offloader.model import Capacity
from offloader.moves.origin import Origin

__all__ = ["FIRST_EPOCH", "PART", "RUN_MARK", "Order", "ordered"]

RUN_MARK = "GRID_OFFLOAD_RUN"
"""In the environment of whatever `run` started: the job's id; of `run --local` the name of its stub."""

FIRST_EPOCH = 1
PART = "order"
"""The capsule's part that is for the controller alone."""


@dataclass(frozen=True, slots=True)
class Order:
    """`name` is user:program, as quarantine names processes; `target`: the only worker that will do, None: any."""

    name: str
    needs: Capacity
    target: str | None = None

    @property
    def origin(self) -> Origin:
        """As of a job that moved: what it uses is not known before it runs, so that what it needs counts."""
        return Origin(self.name, self.needs, self.needs, "")

    def document(self) -> dict[str, Any]:
        """For the capsule."""
        return asdict(self)


def ordered(capsule: bytes) -> Order | None:
    """As a capsule has it; None for one of a job that moved."""
    kept = json.loads(capsule).get(PART)
    return None if kept is None else Order(kept["name"], Capacity(**kept["needs"]), kept["target"])
