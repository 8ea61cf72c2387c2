"""What has to come out of each cell of the matrix, as one table.

The load is declared safe to run again (`GRID_OFFLOAD=allow`), so it has to run on wherever a fault of the cluster took
both copies. What ended before any of it was frozen, by its owner or with its host, was its user's own and stays ended.
"""

from dataclasses import dataclass

from _faults.stages import STATES

__all__ = ["ENDS", "GROUPS", "TABLE", "Ends", "expected"]

Nodes = frozenset[str]

HEAD: Nodes = frozenset({"gpu-master"})
TARGET: Nodes = frozenset({"gpu1"})
ANYWHERE: Nodes = frozenset({"gpu-master", "gpu1", "gpu2"})

GROUPS = {
    "before freezing": STATES[: STATES.index("frozen")],
    "frozen": ("frozen", "saved"),
    "launched": ("go",),
    "proven": ("proven",),
    "owning": ("owning",),
    "owned": ("owned", "ended", "done"),
}
"""States between which a fault changes its meaning."""


@dataclass(frozen=True)
class Ends:
    """How a cell may end.

    Attributes:
        text: for people.
        nodes: where the one copy may run.
        states: final states of the move.
        copies: how many may run: one, or none.
    """

    text: str
    nodes: Nodes
    states: frozenset[str]
    copies: frozenset[int] = frozenset({1})


def _ends(text: str, nodes: Nodes, *states: str) -> Ends:
    return Ends(text, nodes, frozenset(states), frozenset({1 if nodes else 0}))


ENDS = {
    "here": _ends("the original goes on", HEAD, "rolled_back"),
    "there": _ends("the successor goes on", TARGET, "done"),
    "either": _ends("one of the two goes on", HEAD | TARGET, "rolled_back", "done"),
    "again": _ends("launched again", ANYWHERE, "rolled_back", "done", "lost"),
    "ended": _ends("ended untouched, nothing runs", frozenset(), "rolled_back"),
}

TABLE = {
    # fault               before freezing   frozen    launched  proven    owning    owned
    "controller-kill":   ("here",          "here",   "here",   "here",   "there",  "there"),
    "launcher-kill":     ("here",          "here",   "here",   "here",   "here",   "again"),
    "raylet-kill":       ("either",        "here",   "here",   "again",  "again",  "again"),
    "node-kill":         ("either",        "here",   "here",   "here",   "here",   "again"),
    "partition":         ("either",        "here",   "here",   "here",   "either", "there"),
    "head-cycle":        ("ended",         "again",  "again",  "again",  "again",  "again"),
    "original-kill":     ("ended",         "again",  "again",  "again",  "again",  "there"),
    "original-oom":      ("ended",         "again",  "again",  "again",  "again",  "there"),
    "sshd-down":         ("either",        "here",   "either", "either", "either", "there"),
    "ray-restart":       ("either",        "here",   "here",   "again",  "again",  "again"),
    "disk-full":         ("either",        "either", "either", "either", "there",  "there"),
}  # fmt: skip
"""Ray takes a second to end what it ran: a hand-off that asks for ownership by then gets its answer, hence *again*."""

OFF = ("head-cycle",)
OUT_OF_REACH = ("partition", "sshd-down", "node-kill")
OWNS_OR_MAY = ("owning", *GROUPS["owned"])
"""States from which a target out of reach may run the one copy: nobody may launch another before it answers."""


def expected(fault: str, state: str) -> Ends:
    """What has to come out of a fault in a state."""
    column = next(number for number, states in enumerate(GROUPS.values()) if state in states)
    return ENDS[TABLE[fault][column]]


def counts_from_heal(fault: str, state: str) -> bool:
    """Whether the time until one copy runs counts from the end of the fault, not from its beginning.

    It does where the fault hit between `own` and its answer, where it took the only copy out of reach (which looks like
    one that runs on), and where the head itself, with controller and original, was off.
    """
    return fault in OFF or (fault in OUT_OF_REACH and state in OWNS_OR_MAY)
