"""What has to come out of each cell of the matrix, as one table for each strategy.

A load that is declared safe to run again (`GRID_OFFLOAD=allow`), or that goes on from what it saved, has to run on
wherever a fault of the cluster took both copies. One of which nothing was declared may be lost then, and that has to be
told. What ended before any of it was touched, by its owner or with its host, was its user's own and stays ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from _faults.ways import CHECKPOINT, LIVE, RESTART, STATES

__all__ = ["ENDS", "GROUPS", "OWNS", "TABLES", "Ends", "column", "counts_from_heal", "expected", "from_then_on"]

Nodes = frozenset[str]

HEAD: Nodes = frozenset({"gpu-master"})
TARGET: Nodes = frozenset({"gpu1"})
ANYWHERE: Nodes = frozenset({"gpu-master", "gpu1", "gpu2"})

GROUPS = {
    "before": STATES[: STATES.index("frozen")],
    "frozen": ("frozen",),
    "saved": ("saved",),
    "launched": ("go",),
    "proven": ("proven",),
    "owning": ("owning",),
    "owned": ("owned", "ended", "done"),
}
"""States between which a fault changes its meaning."""

OWNS = GROUPS["owned"]


@dataclass(frozen=True)
class Ends:
    """How a cell may end.

    Attributes:
        text: for people.
        nodes: where the one copy may run; empty: none may.
        states: final states of the move.
        over: states of the job with which no copy may run; empty: one has to.
        again: whether the copy may be one that was started again, its memory lost.
    """

    text: str
    nodes: Nodes
    states: frozenset[str]
    over: frozenset[str] = frozenset()
    again: bool = False

    @property
    def copies(self) -> frozenset[int]:
        """How many may run: one, or none."""
        return frozenset({1} if self.nodes else ()) | frozenset({0} if self.over else ())


def _ends(text: str, nodes: Nodes, *states: str, again: bool = False) -> Ends:
    return Ends(text, nodes, frozenset(states), again=again)


ENDS = {
    "here": _ends("the original goes on", HEAD, "rolled_back"),
    "there": _ends("the successor goes on", TARGET, "done"),
    "again": _ends("launched again", ANYWHERE, "rolled_back", "done", "lost", again=True),
    # Nobody follows an original that was let go: of how it ended nothing is known.
    "ended": Ends("ended untouched, nothing runs", frozenset(), frozenset({"rolled_back"}), frozenset({"unknown"})),
}
LOST = Ends("lost, and told so", frozenset(), frozenset({"rolled_back", "done", "lost"}), frozenset({"lost"}))

Table = Mapping[str, Sequence[str]]

RESTARTED: Table = {
    # fault             before        frozen    saved     launched  proven    owning    owned
    "controller-kill": ("here",       "here",   "here",   "here",   "here",   "there",  "there"),
    "launcher-kill":   ("here",       "here",   "here",   "here",   "here",   "here",   "again"),
    "raylet-kill":     ("here there", "here",   "here",   "here",   "again",  "again",  "again"),
    "node-kill":       ("here there", "here",   "here",   "here",   "here",   "here",   "again"),
    "partition":       ("here there", "here",   "here",   "here",   "here",   "here there", "there"),
    "head-cycle":      ("ended",      "again",  "again",  "again",  "again",  "again",  "again"),
    "original-kill":   ("ended",      "again",  "again",  "again",  "again",  "again",  "there"),
    "original-oom":    ("ended",      "again",  "again",  "again",  "again",  "again",  "there"),
    "sshd-down":       ("here there", "here",   "here",   "here there", "here there", "here there", "there"),
    "ray-restart":     ("here there", "here",   "here",   "here",   "again",  "again",  "again"),
    "disk-full":       ("here there", "here there", "here there", "here there", "here there", "there", "there"),
}  # fmt: skip
"""Ray takes a second to end what it ran: a hand-off that asks for ownership by then gets its answer, hence *again*."""

SAVED: Table = {
    # fault             before        -         saved     launched  proven    owning    owned
    **RESTARTED,
    # What was asked to save has ended by itself: nothing is left that could be killed.
    "original-kill":   ("ended",      "ended",  "there",  "there",  "there",  "there",  "there"),
    "original-oom":    ("ended",      "ended",  "there",  "there",  "there",  "there",  "there"),
}  # fmt: skip
"""*here* is also a copy that was started again at the source: it goes on from what the original saved."""

RESTORED: Table = {
    # fault             before        frozen    saved     launched  proven    owning    owned
    **RESTARTED,
    # From *frozen* to *owned* it takes less time than Ray needs to end what it ran.
    "raylet-kill":     ("here there again", "here again", "here again", "here again", "again", "again", "again"),
    "ray-restart":     ("here there again", "here again", "here again", "here again", "again", "again", "again"),
    # Memory that is on its way when the cable is pulled may go on when it is back.
    "partition":       ("here there", "here there", "here", "here",  "here",  "here there", "there"),
    # One that dies is not copied; once it was, what is left of it is ended anyway.
    "original-kill":   ("ended",      "again",  "there",  "there",  "there",  "there",  "there"),
    "original-oom":    ("ended",      "again",  "there",  "there",  "there",  "there",  "there"),
    # criu killed at an unlucky moment takes the original with it (ADR 18); one that was done got away.
    "dump-kill":       ("here there again", "here there again", "there", "there", "there", "there", "there"),
    "pages-kill":      ("here there", "here there", "there", "there", "there", "there", "there"),
    "restore-kill":    ("here there", "here there", "here there", "here there", "there", "there", "there"),
    "cradle-kill":     ("here",       "here",   "here",   "here",   "here",   "here",   "again"),
}  # fmt: skip
"""Nothing of a copy executes before it owns the work, and then it goes on from where the original was frozen."""

TABLES: Mapping[str, Table] = {RESTART.name: RESTARTED, CHECKPOINT.name: SAVED, LIVE.name: RESTORED}

OFF = ("head-cycle",)
OUT_OF_REACH = ("partition", "sshd-down", "node-kill")
OWNS_OR_MAY = ("owning", *OWNS)
"""States from which a target out of reach may run the one copy: nobody may launch another before it answers."""


def column(state: str) -> int:
    """Of the tables."""
    return next(number for number, states in enumerate(GROUPS.values()) if state in states)


def expected(strategy: str, fault: str, state: str, *, declared: bool = True) -> Ends:
    """What has to come out of a fault in a state; `declared`: that running it again is harmless."""
    return _union([TABLES[strategy][fault][column(state)]], declared=declared)


def from_then_on(strategy: str, fault: str, state: str, *, declared: bool = True) -> Ends:
    """What may come out when the fault hits in this state or any later one."""
    return _union(TABLES[strategy][fault][column(state) :], declared=declared)


def _union(cells: Sequence[str], *, declared: bool) -> Ends:
    """Any of these."""
    ends = [ENDS[name] for cell in cells for name in cell.split()]
    if not declared:
        ends = [replace(LOST, nodes=one.nodes) if one.again else one for one in ends]
    return Ends(
        " or ".join(dict.fromkeys(one.text for one in ends)),
        frozenset[str]().union(*(one.nodes for one in ends)),
        frozenset[str]().union(*(one.states for one in ends)),
        frozenset[str]().union(*(one.over for one in ends)),
        any(one.again for one in ends),
    )


def counts_from_heal(fault: str, state: str) -> bool:
    """Whether the time until one copy runs counts from the end of the fault, not from its beginning.

    It does where the fault hit between `own` and its answer, where it took the only copy out of reach (which looks like
    one that runs on), and where the head itself, with controller and original, was off.
    """
    return fault in OFF or (fault in OUT_OF_REACH and state in OWNS_OR_MAY)
