"""What a fault is, and whom it hits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from _faults.ambush import Find
from _faults.rig import Rig

__all__ = ["Fault", "Hit", "Step", "Victim"]


@dataclass(frozen=True)
class Victim:
    """A move that is under a fault: its load's process on the head, as the machine numbers it, its id and its job."""

    load: str
    pid: int
    outer_pid: int
    move: str
    job: str


Hit = Callable[[Rig, Sequence[Victim]], None]
Step = Callable[[Rig], None]


def _nothing(_: Rig) -> None:
    pass


def _nobody(_: Rig, __: Sequence[Victim]) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """What happens.

    Attributes:
        name: in the table and on the command line.
        text: for people.
        hit: the fault.
        heal: its end, `lasts_s` after the hit.
        then: what comes back after its end, in its own time.
        prepare: before the moves begin.
        adopt: done to each original, by its process id, before its move.
        tidy: after all.
        prey: finds the processes of the moves that are killed: at the hit, or as soon as they are there.
        passing: they are there for a moment only: they are awaited from before the moves go on, and the fault's delay
            counts from when they appear.
        until: the last state of a move in which they may still be to come; empty: any.
        strategies: whose moves it can hit; empty: any.
    """

    name: str
    text: str
    hit: Hit = _nobody
    heal: Step = _nothing
    lasts_s: float = 0.0
    then: Step = _nothing
    prepare: Step = _nothing
    adopt: Callable[[Rig, int], None] | None = None
    tidy: Step = _nothing
    prey: Callable[[Rig, Sequence[Victim]], Find] | None = None
    passing: bool = False
    until: str = ""
    strategies: tuple[str, ...] = ()
