"""From Prometheus' answers to readings that may be acted on, or not, with the reason. Pure.

Three-valued throughout (safety.md, Evaluation): whatever is missing, failed, doubtful, contradictory or old is a
problem, never a number. The checks run from what explains most (the query failed) to what explains least (too old).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from offloader.config import series
from offloader.model import Reading, Reason, Resource, Truth
from offloader.ports import Sample, VectorResult

__all__ = ["Answer", "Health", "health", "pressures", "reading", "recorded_age", "truth"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's samples by node, those without a node, or why nothing may be concluded from them."""

    problem: Reason | None = None
    detail: str = ""
    by_node: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    nowhere: tuple[Sample, ...] = ()

    @classmethod
    def of(cls, result: VectorResult) -> Answer:
        """Indexed once, so that the cost follows the samples, not their product with the nodes."""
        if result.error is not None:
            return cls(Reason.QUERY_FAILED, result.error)
        if result.warnings:
            return cls(Reason.WARNINGS, "; ".join(result.warnings))
        by_node: dict[str, list[Sample]] = {}
        nowhere = []
        for sample in result.samples:
            node = sample.labels.get(series.NODE_LABEL)
            if node is None:
                nowhere.append(sample)
            else:
                by_node.setdefault(node, []).append(sample)
        return cls(by_node={node: tuple(found) for node, found in by_node.items()}, nowhere=tuple(nowhere))

    def here(self, node: str, **labels: str) -> tuple[Sample, ...]:
        """The node's samples with these labels."""
        found = self.by_node.get(node, ())
        return tuple(sample for sample in found if labels.items() <= sample.labels.items()) if labels else found


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a node's data may be believed at all: the age of its newest raw sample, or what is wrong with it."""

    age_s: float | None = None
    problem: Reason | None = None
    detail: str = ""

    @property
    def up(self) -> bool:
        """Whether the node's exporter answers and its data is fresh."""
        return self.problem is None


def health(node: str, up: Answer, ages: Answer, *, limit_s: float, now: float) -> Health:
    """A node's health by `series.UP` and `series.AGE`. Of several series the one that is down and the oldest count."""
    for answer in (up, ages):
        if answer.problem is not None:
            return Health(None, answer.problem, answer.detail)
    # An answer that was evaluated in the past (a cache, a clock that is off) is as old as that on top.
    age = max((sample.value + max(0.0, now - sample.t) for sample in _nan_last(ages.here(node))), default=math.nan)
    known = max(0.0, age) if math.isfinite(age) else None
    ups = up.here(node)
    if not ups:
        return Health(known, Reason.NO_DATA, f"Prometheus has no {series.UP} for {node}: is it among its targets?")
    if any(sample.value != 1 for sample in ups):
        return Health(known, Reason.DOWN, f"the exporter of {node} does not answer Prometheus")
    if known is None:
        return Health(None, Reason.STALE, f"the age of {node}'s samples is not known ({series.AGE})")
    if known > limit_s:
        return Health(known, Reason.STALE, f"the newest sample of {node} is {known:.0f} s old, over {limit_s:.0f} s")
    return Health(known)


def reading(node: str, answer: Answer, state: Health, *, limit_s: float, recorded_s: float = 0.0) -> Reading:
    """One rule's value for one node. `recorded_s`: how long ago the series that it reads were last recorded."""
    if answer.problem is not None:
        return Reading(node, problem=answer.problem, detail=answer.detail)
    found = answer.here(node)
    lonely = " (its series carry no label `node`)" if answer.nowhere and not answer.by_node else ""
    return _checked(found, state, _Where(node, lonely, limit_s, recorded_s))


def truth(node: str, answer: Answer, state: Health) -> Truth:
    """What a rule's `when` says: true where it gives a sample for the node (or one without a node), as alerts do."""
    found = (*answer.here(node), *answer.nowhere)
    if answer.problem is not None or not state.up or any(math.isnan(sample.value) for sample in found):
        return Truth.UNKNOWN
    return Truth.TRUE if found else Truth.FALSE


def pressures(node: str, answer: Answer, recorded: Answer, state: Health, *, limit_s: float) -> dict[Resource, Reading]:
    """The node's pressure per resource that it has; `recorded` gives how long ago each was recorded."""
    if answer.problem is not None:
        return {resource: Reading(node, problem=answer.problem, detail=answer.detail) for resource in Resource}
    found = {resource: answer.here(node, resource=resource) for resource in Resource}
    age = recorded_age(node, recorded)
    return {
        resource: _checked(samples, state, _Where(node, f" ({resource})", limit_s, age))
        for resource, samples in found.items()
        if samples or resource is not Resource.GPU  # a node without a GPU is no problem
    }


def recorded_age(node: str, recorded: Answer) -> float:
    """How long ago the oldest of the node's recorded series was recorded; infinite where that cannot be told."""
    if recorded.problem is not None:
        return math.inf
    ages = [sample.value for sample in recorded.here(node)]
    return math.inf if any(math.isnan(age) for age in ages) else max(ages, default=0.0)


@dataclass(frozen=True, slots=True)
class _Where:
    node: str
    remark: str
    limit_s: float
    recorded_s: float


def _checked(found: tuple[Sample, ...], state: Health, where: _Where) -> Reading:
    """The one sample as a reading, if it may be believed."""
    problem, detail = _doubt(found, state, where)
    age = max(state.age_s or 0.0, where.recorded_s)
    if problem is not None:
        return Reading(where.node, None, state.age_s, problem, detail)
    if not math.isfinite(age):
        return Reading(where.node, None, state.age_s, Reason.STALE, "it cannot be told when the value was recorded")
    if age > where.limit_s:
        return Reading(where.node, None, age, Reason.STALE, f"recorded {age:.0f} s ago, over {where.limit_s:.0f} s")
    return Reading(where.node, found[0].value, age)


def _doubt(found: tuple[Sample, ...], state: Health, where: _Where) -> tuple[Reason | None, str]:
    if len(found) > 1:
        return Reason.AMBIGUOUS, f"there are {len(found)} series for {where.node}{where.remark}"
    if state.problem is not None:
        return state.problem, state.detail  # also where there are no samples: that they are missing is its consequence
    if not found:
        return Reason.NO_DATA, f"there is no value for {where.node}{where.remark}"
    if not math.isfinite(found[0].value):
        return Reason.NOT_A_NUMBER, f"the value for {where.node} is {found[0].value}{where.remark}"
    return None, ""


def _nan_last(found: Iterable[Sample]) -> list[Sample]:
    """max() keeps a NaN only when it comes first: put those there."""
    return sorted(found, key=lambda sample: not math.isnan(sample.value))
