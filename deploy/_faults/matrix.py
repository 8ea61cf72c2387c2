"""The matrix: every state under every fault, in batches of one fault each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from _faults.batch import Case
from _faults.expected import expected
from _faults.fault import Fault
from _faults.faults import FAULTS, of
from _faults.ways import CHECKPOINT, LIVE, RESTART, Way

__all__ = ["QUICK", "Batch", "cells", "in_batches", "named", "quick", "states"]

QUICK: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    RESTART.name: {
        "controller-kill": ("held", "frozen", "proven", "owning", "done"),
        "launcher-kill": ("reserved", "held", "proven", "owning", "owned"),
        "raylet-kill": ("go",),
        "node-kill": ("go",),
        "partition": ("go", "owning"),
    },
    CHECKPOINT.name: {"launcher-kill": ("held", "saved", "go", "owned")},
    LIVE.name: {"dump-kill": ("frozen",), "restore-kill": ("saved", "go"), "cradle-kill": ("proven", "owned")},
}
"""A representative part, by strategy: what deploy/test runs. Of the restart it takes a few minutes, else a minute."""


@dataclass(frozen=True)
class Batch:
    """Moves under one fault. `delay_s`: from the states to the fault."""

    fault: Fault
    cases: tuple[Case, ...]
    delay_s: float = 0.0


Cell = tuple[str, str]
"""A fault's name and a state."""


def states(fault: Fault, way: Way) -> tuple[str, ...]:
    """Those of its moves in which the fault can find its victim, or wait for it."""
    return way.states[: way.states.index(fault.until) + 1] if fault.until else way.states


def cells(way: Way, faults: Sequence[str] = (), chosen: Sequence[str] = ()) -> list[Cell]:
    """Those of these faults and states, all without a choice."""
    return [
        (fault.name, state)
        for fault in of(way.name)
        for state in states(fault, way)
        if (not faults or fault.name in faults) and (not chosen or state in chosen)
    ]


def quick(way: Way) -> list[Cell]:
    """The representative part."""
    return [(fault, state) for fault, some in QUICK[way.name].items() for state in some]


def named(way: Way, name: str) -> str:
    """What a case is called, among those of all strategies."""
    return name if way == RESTART else f"{way.name}-{name}"


def in_batches(way: Way, chosen: Sequence[Cell], together: int) -> list[Batch]:
    """At most `together` moves at once, each batch under one fault."""
    found = []
    for fault in FAULTS:
        mine = [state for name, state in chosen if name == fault.name]
        for first in range(0, len(mine), together):
            some = mine[first : first + together]
            cases = (
                Case(named(way, f"{fault.name}-{state}"), state, expected(way.name, fault.name, state))
                for state in some
            )
            found.append(Batch(fault, tuple(cases)))
    return found
