"""What a tick sees and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from offloader.model.corrections import Corrections
from offloader.model.processes import Candidate
from offloader.model.reasons import Reason
from offloader.model.resources import Capacity, Mode, Resource, Role, StrategyName, Truth
from offloader.model.rules import Toggles
from offloader.model.work import Move

__all__ = ["Decision", "DecisionKind", "NodeView", "Reading", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one node as Prometheus gave it, or why there is none to act on.

    Exactly one of `value` and `problem` is set. `age_s` is the age of the raw sample, not of the recorded one.
    """

    node: str
    value: float | None = None
    age_s: float | None = None
    problem: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as one tick sees it."""

    name: str
    role: Role
    up: bool
    draining: bool = False
    total: Capacity = field(default_factory=Capacity)
    offer: Capacity | None = None  # None: it offers nothing now; `offer_reason` says why
    offer_reason: str = ""
    pressure: Mapping[Resource, Reading] = field(default_factory=dict)


class DecisionKind(StrEnum):
    """What a decision says about one candidate, or about a rule as a whole."""

    MOVE = "move"  # to be done now
    WOULD_MOVE = "would_move"  # something holds it back: observe records, advise tells, approve asks and waits
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Decision:
    """One outcome of a tick with everything needed to explain it later."""

    kind: DecisionKind
    rule: str
    node: str
    mode: Mode
    value: float | None
    age_s: float | None
    threshold: float
    relief: float
    reason: Reason | None = None
    detail: str = ""
    candidate: Candidate | None = None
    target: str | None = None
    strategy: StrategyName | None = None
    fallbacks: tuple[StrategyName, ...] = ()  # tried in turn where preflight finds something in the way of `strategy`
    expected_loss: float | None = None
    relieves: Mapping[Resource, float] = field(default_factory=dict)
    considered: tuple[tuple[int, Reason, str], ...] = ()  # pid, reason, what was seen: those not chosen
    approved_by: int | None = None  # uid of whoever agreed to it; None: nobody had to


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one tick decides from. Nobody stores it."""

    now: float
    scrape_interval_s: float
    nodes: Mapping[str, NodeView]
    values: Mapping[tuple[str, str], Reading]  # (rule key, node) -> what `expr` gave
    whens: Mapping[tuple[str, str], Truth]  # (rule key, node) -> what `when` gave; absent: the rule has none
    candidates: tuple[Candidate, ...]
    toggles: Toggles
    moves: tuple[Move, ...] = ()  # not final ones, and those finished within the last hour
    reserved: Mapping[str, Capacity] = field(default_factory=dict)  # node -> sum of the ledger
    frozen_load: Mapping[Resource, float] = field(default_factory=dict)  # pressure that frozen originals would add
    quarantined: frozenset[str] = frozenset()  # process names (user:comm) that rules leave alone
    memory_stall: float | None = None  # share of time in which something on the head waits for memory; None: not known
    corrections: Corrections = field(default_factory=dict)  # what earlier moves say of estimates
    alerted: frozenset[str] = frozenset()  # keys of rules that name an alert which fires
