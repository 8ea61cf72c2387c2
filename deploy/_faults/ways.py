"""The strategies by which the moves go, and what each needs of the test bed and of the load."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from _testbed.ray_cluster import DEFAULT_USER
from _testbed.work import AGAIN_IS_HARMLESS

from offloader.jobs.transitions import ORDER
from offloader.model import MoveState

__all__ = ["CHECKPOINT", "LIVE", "RESTART", "STATES", "WAYS", "Way"]

STATES = tuple(state.value for state in ORDER)
"""Every state of a hand-off that meets no trouble, in order."""

SAVE_EVERY_S = 0.5
SAVE_TAKES_S = 1.0


@dataclass(frozen=True)
class Way:
    """One strategy.

    Attributes:
        name: its name.
        user: as whom Ray, controller and loads run.
        states: those that its hand-offs are in, in order.
        longest_delay_s: as long as a hand-off takes from *held* to *done*: a fault may hit anywhere in it.
        environment: what the load declares of itself.
        options: of the load, given where it may keep its state.
        may_be_undeclared: whether it also takes jobs of which nobody said that running them again is harmless.
    """

    name: str
    user: str
    states: tuple[str, ...]
    longest_delay_s: float
    environment: Mapping[str, str]
    options: Callable[[Path], tuple[str, ...]] = lambda _: ()
    may_be_undeclared: bool = False

    def declares(self, *, declared: bool) -> Mapping[str, str]:
        """The environment of a load, with or without the declaration that running it again is harmless."""
        return self.environment if declared else {}


def _saving(state: Path) -> tuple[str, ...]:
    return (f"--state={state}", f"--save-every={SAVE_EVERY_S}", f"--save-after={SAVE_TAKES_S}")


RESTART = Way("restart", DEFAULT_USER, STATES, 8.0, AGAIN_IS_HARMLESS)
CHECKPOINT = Way(
    "checkpoint",
    DEFAULT_USER,
    tuple(state for state in STATES if state != MoveState.FROZEN),
    9.0,
    {"GRID_OFFLOAD_CHECKPOINT_SIGNAL": "USR1"},
    _saving,
)
LIVE = Way("live", "root", STATES, 3.0, AGAIN_IS_HARMLESS, may_be_undeclared=True)

WAYS = {way.name: way for way in (RESTART, CHECKPOINT, LIVE)}
