"""The matrix: every state under every fault, in batches of one fault each."""

from collections.abc import Sequence
from dataclasses import dataclass

from _faults.batch import Case
from _faults.expected import expected
from _faults.faults import FAULTS, Fault
from _faults.stages import STATES

__all__ = ["QUICK", "Batch", "cells", "in_batches", "quick"]

QUICK = {
    "controller-kill": ("held", "frozen", "proven", "owning", "done"),
    "launcher-kill": ("reserved", "held", "proven", "owning", "owned"),
    "raylet-kill": ("go",),
    "node-kill": ("go",),
    "partition": ("go", "owning"),
}
"""A representative part that takes a few minutes: what deploy/test runs."""


@dataclass(frozen=True)
class Batch:
    """Moves under one fault. `delay_s`: from the states to the fault."""

    fault: Fault
    cases: tuple[Case, ...]
    delay_s: float = 0.0


Cell = tuple[str, str]
"""A fault's name and a state."""


def cells(faults: Sequence[str] = (), states: Sequence[str] = ()) -> list[Cell]:
    """The chosen ones, all without a choice."""
    return [
        (fault.name, state)
        for fault in FAULTS
        for state in STATES
        if (not faults or fault.name in faults) and (not states or state in states)
    ]


def quick() -> list[Cell]:
    """The representative part."""
    return [(fault, state) for fault, states in QUICK.items() for state in states]


def in_batches(chosen: Sequence[Cell], together: int) -> list[Batch]:
    """At most `together` moves at once, each batch under one fault."""
    found = []
    for fault in FAULTS:
        states = [state for name, state in chosen if name == fault.name]
        for first in range(0, len(states), together):
            some = states[first : first + together]
            cases = (Case(f"{fault.name}-{state}", state, expected(fault.name, state)) for state in some)
            found.append(Batch(fault, tuple(cases)))
    return found
