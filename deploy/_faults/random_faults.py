"""Random faults: drawn from a seed, so that a run can be repeated."""

import random
from collections.abc import Sequence

from _faults.batch import Case
from _faults.expected import ENDS, GROUPS, TABLE, Ends
from _faults.faults import FAULTS
from _faults.matrix import Batch
from _faults.stages import STATES

__all__ = ["draw"]

LONGEST_DELAY_S = 8.0
"""As long as a hand-off takes from *held* to *done*: a fault may hit anywhere in it."""


def draw(number: int, seed: int, together: int) -> list[Batch]:
    """So many moves, each let go from a random state, and hit by its batch's random fault after a random delay."""
    generator = random.Random(seed)  # noqa: S311 - a repeatable draw, no secret
    found: list[Batch] = []
    for first in range(0, number, together):
        fault = generator.choice(FAULTS)
        delay = round(generator.uniform(0.001, LONGEST_DELAY_S), 3)
        states = [generator.choice(STATES) for _ in range(min(together, number - first))]
        cases = (
            Case(f"random-{seed}-{first + position}", state, from_then_on(fault.name, state))
            for position, state in enumerate(states)
        )
        found.append(Batch(fault, tuple(cases), delay))
    return found


def from_then_on(fault: str, state: str) -> Ends:
    """What may come out when the fault hits in this state or any later one."""
    column = next(number for number, states in enumerate(GROUPS.values()) if state in states)
    return union([ENDS[name] for name in TABLE[fault][column:]])


def union(ends: Sequence[Ends]) -> Ends:
    """Any of these."""
    return Ends(
        " or ".join(dict.fromkeys(one.text for one in ends)),
        frozenset[str]().union(*(one.nodes for one in ends)),
        frozenset[str]().union(*(one.states for one in ends)),
        frozenset[int]().union(*(one.copies for one in ends)),
    )
