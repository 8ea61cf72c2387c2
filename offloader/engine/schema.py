"""What the engine remembers between ticks and what it says in one, with the round trip through plain dicts.

Times are Unix seconds. All types are frozen; a tick makes new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from offloader.errors import JournalError
from offloader.model import Identity, Reason, Resource, StrategyName, Truth

__all__ = [
    "EngineState",
    "Failure",
    "Notice",
    "Proposal",
    "RulePhase",
    "RuleState",
    "Target",
    "Verdict",
    "identity_key",
]


class RulePhase(StrEnum):
    """Where a rule stands for one node; docs/engine.md holds the table of transitions.

    Cooling lies over the other four: they go on being reckoned beneath it, only nothing is moved.
    """

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RELIEVING = "relieving"
    COOLING = "cooling"


@dataclass(frozen=True, slots=True)
class RuleState:
    """One rule on one node.

    `phase` is what people see; `beneath` is the same unless the phase is cooling. `held_s` is the time served of
    `for`; `true_t` the last time at which relief was not reached, for `keep_firing_for`; `moved_t` the last time at
    which a move off this node committed or failed; `failed` counts this rule's failed moves since its last good one.
    `hurried`: it fired before `for` was served, because an alert that it names fires; `held_s` goes on counting.
    """

    phase: RulePhase = RulePhase.INACTIVE
    beneath: RulePhase = RulePhase.INACTIVE
    phase_t: float = 0.0
    held_s: float = 0.0
    last_t: float | None = None
    last_truth: Truth = Truth.FALSE
    true_t: float | None = None
    unknown_t: float | None = None
    moved_t: float | None = None
    started_t: float | None = None
    failed: int = 0
    hurried: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain dict for the journal."""
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RuleState:
        """Inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        converted = {
            "phase": RulePhase(data["phase"]),
            "beneath": RulePhase(data["beneath"]),
            "last_truth": Truth(data["last_truth"]),
        }
        return cls(**{**data, **converted})


@dataclass(frozen=True, slots=True)
class Failure:
    """A move that failed, remembered as long as it may quarantine its process."""

    move: str
    process: str  # identity_key
    t: float


@dataclass(frozen=True, slots=True)
class Notice:
    """An owner was told that his job is going to be moved. engine/notice.py says how one passes.

    `process` is the identity_key of the job's leader. `outcome`: why it ended; ALREADY_MOVING is what it announced. An
    ended one is remembered for `process_interval_s`: so long the same process is given no other.
    """

    process: str
    pid: int
    uid: int
    user: str
    name: str
    rule: str
    target: str
    strategy: StrategyName
    value: float | None
    threshold: float
    needs_s: float
    given_t: float
    last_t: float
    served_s: float = 0.0
    ended_t: float | None = None
    outcome: Reason | None = None

    @property
    def open(self) -> bool:
        """Whether what it announced may still come."""
        return self.ended_t is None

    @property
    def left_s(self) -> float:
        """How long the owner may still object before the move can begin."""
        return max(0.0, self.needs_s - self.served_s)

    def to_json(self) -> dict[str, Any]:
        """Plain dict for the journal."""
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Notice:
        """Inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        outcome = Reason(data["outcome"]) if data["outcome"] is not None else None
        return cls(**{**data, "strategy": StrategyName(data["strategy"]), "outcome": outcome})


@dataclass(frozen=True, slots=True)
class Proposal:
    """A planned move that waits for a person's word. engine/approval.py says how one passes.

    `process` is the identity_key of the job's leader. `reason` and `detail` say why a rule may not just do it: APPROVAL
    (its mode asks), or what is its owner's to decide. `relieves` and `threshold` are ratios. `valid_s` counts from
    `made_t`, once agreed to, from `answered_t`. `outcome`: why it ended; ALREADY_MOVING is what it proposed.
    """

    id: str
    process: str
    pid: int
    uid: int
    user: str
    name: str
    age_s: float
    rule: str
    target: str
    strategy: StrategyName
    fallbacks: tuple[StrategyName, ...]
    value: float | None
    threshold: float
    relieves: Mapping[Resource, float]
    reason: Reason
    detail: str
    made_t: float
    valid_s: float
    approved_by: int | None = None
    answered_t: float | None = None
    ended_t: float | None = None
    outcome: Reason | None = None

    @property
    def open(self) -> bool:
        """Whether what it proposes may still come."""
        return self.ended_t is None

    @property
    def approved(self) -> bool:
        """Whether somebody agreed, and it is still to be done."""
        return self.open and self.approved_by is not None

    @property
    def ways(self) -> tuple[StrategyName, ...]:
        """The strategies that it names, in the order in which they are tried."""
        return (self.strategy, *self.fallbacks)

    @property
    def expires_t(self) -> float:
        """When it lapses."""
        return (self.made_t if self.answered_t is None else self.answered_t) + self.valid_s

    @property
    def owners_only(self) -> bool:
        """Whether nobody but the job's owner (or root) may agree to it."""
        return self.reason is not Reason.APPROVAL

    def to_json(self) -> dict[str, Any]:
        """Plain dict for the journal."""
        plain = {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}
        relieves = {str(resource): ratio for resource, ratio in self.relieves.items()}
        return {**plain, "fallbacks": [str(one) for one in self.fallbacks], "relieves": relieves}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Proposal:
        """Inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        converted = {
            "strategy": StrategyName(data["strategy"]),
            "fallbacks": tuple(StrategyName(one) for one in data["fallbacks"]),
            "relieves": {Resource(name): ratio for name, ratio in data["relieves"].items()},
            "reason": Reason(data["reason"]),
            "outcome": Reason(data["outcome"]) if data["outcome"] is not None else None,
        }
        return cls(**{**data, **converted})


@dataclass(frozen=True, slots=True)
class EngineState:
    """Everything that the engine carries from tick to tick: one document in the journal.

    `rules` is keyed by (rule key, node), `moved_t` by node.
    """

    rules: Mapping[tuple[str, str], RuleState] = field(default_factory=dict)
    moved_t: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    started_t: float | None = None
    notices: tuple[Notice, ...] = ()
    proposals: tuple[Proposal, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists: rules as {rule key: {node: state}}."""
        rules: dict[str, dict[str, Any]] = {}
        for (key, node), state in self.rules.items():
            rules.setdefault(key, {})[node] = state.to_json()
        return {
            "rules": rules,
            "moved_t": dict(self.moved_t),
            "failures": [asdict(failure) for failure in self.failures],
            "started_t": self.started_t,
            "notices": [notice.to_json() for notice in self.notices],
            "proposals": [proposal.to_json() for proposal in self.proposals],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EngineState:
        """Inverse of `to_json`; also of that of versions that gave no notice or proposed nothing.

        Raises:
            JournalError: it is not such a document (a damaged journal, or one of another version).
        """
        try:
            rules = {
                (key, node): RuleState.from_json(state)
                for key, nodes in data["rules"].items()
                for node, state in nodes.items()
            }
            failures = tuple(Failure(**failure) for failure in data["failures"])
            notices = tuple(Notice.from_json(notice) for notice in data.get("notices", ()))
            proposals = tuple(Proposal.from_json(proposal) for proposal in data.get("proposals", ()))
            return cls(rules, dict(data["moved_t"]), failures, data["started_t"], notices, proposals)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise JournalError(f"the engine's state in the journal cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one evaluation says: may the rule act now, and if not, why.

    `value` holds the load of frozen originals too. `excess` is how far it is above relief (0 when it is not known or
    below). `alert` is set when unknown has lasted so long that the state was reset. `fired`: it is firing or relieving,
    whether or not it may act now (cooling lies over that).
    """

    truth: Truth
    phase: RulePhase
    acting: bool
    threshold: float
    relief: float
    value: float | None = None
    age_s: float | None = None
    excess: float = 0.0
    reason: Reason | None = None
    detail: str = ""
    alert: bool = False
    fired: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a candidate fits: the pressures that its node would have with it (ratios)."""

    node: str
    predicted: Mapping[Resource, float]

    @property
    def highest(self) -> float:
        """The fullest resource after the move."""
        return max(self.predicted.values(), default=0.0)


def identity_key(identity: Identity) -> str:
    """One string that names a process for ever."""
    return f"{identity.boot_id}:{identity.pid}:{identity.start_ticks}"
