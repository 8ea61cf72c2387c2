"""Random faults: drawn from a seed, so that a run can be repeated."""

import random
from collections.abc import Iterator, Sequence

from _faults import matrix
from _faults.batch import Case
from _faults.expected import from_then_on
from _faults.fault import Fault
from _faults.faults import of
from _faults.matrix import Batch
from _faults.ways import Way

__all__ = ["draw"]

LONGEST_PASSING_S = 0.3
"""As long as criu takes for the load, or a little longer."""


def draw(way: Way, number: int, seed: int, together: int, chosen: Sequence[str] = ()) -> list[Batch]:
    """So many moves, each let go from a random state, and hit by its batch's random fault after a random delay.

    No fault comes up again before every other one has. `chosen`: of these faults alone; empty: of all.
    """
    generator = random.Random(seed)  # noqa: S311 - a repeatable draw, no secret
    faults = _in_turns(generator, [fault for fault in of(way.name) if not chosen or fault.name in chosen])
    found: list[Batch] = []
    for first in range(0, number, together):
        fault = next(faults)
        delay = round(generator.uniform(0.001, LONGEST_PASSING_S if fault.passing else way.longest_delay_s), 3)
        numbers = range(first, min(first + together, number))
        found.append(Batch(fault, tuple(_case(way, fault, generator, f"{seed}-{each}") for each in numbers), delay))
    return found


def _in_turns(generator: random.Random, faults: list[Fault]) -> Iterator[Fault]:
    while True:
        yield from generator.sample(faults, len(faults))


def _case(way: Way, fault: Fault, generator: random.Random, name: str) -> Case:
    state = generator.choice(matrix.states(fault, way))
    declared = not way.may_be_undeclared or generator.random() < 1 / 2
    ends = from_then_on(way.name, fault.name, state, declared=declared)
    return Case(matrix.named(way, f"random-{name}"), state, ends, declared=declared)
