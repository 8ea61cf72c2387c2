"""One tick's questions to Prometheus and their interpretation: what the rules say, how the nodes are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from offloader.adapters import readings
from offloader.adapters.node_views import CAPACITIES, view
from offloader.adapters.readings import Answer, Health
from offloader.config import series
from offloader.model import Capacity, NodeView, Reading, Role, Rule, Truth
from offloader.ports import MetricsSource

__all__ = ["Lend", "Measurements", "gather"]

Lend = Callable[[str, Capacity], Capacity | None]
"""Node, what it could offer → what it may lend of that; None: nothing."""

# timestamp() of a recorded series is when it was recorded: added, so that rules that stopped being evaluated show.
_AGES = f"{series.AGE} + (time() - timestamp({series.AGE}))"
_RECORDED = f"time() - timestamp({series.PRESSURE})"
_CAPACITIES = f'{{__name__=~"{"|".join(CAPACITIES)}"}}'
_MEMORY_STALL = f'{series.STALL}{{resource="memory",kind="some"}}'
_COMMON = (series.UP, _AGES, series.PRESSURE, _RECORDED, _CAPACITIES, _MEMORY_STALL)


@dataclass(frozen=True, slots=True)
class Measurements:
    """A snapshot's share of Prometheus: rule values and conditions by (rule key, node), views and ages by node.

    `memory_stalls`: of the heads, the share of time in which something waited for memory; None: not known, or too old.
    """

    values: Mapping[tuple[str, str], Reading]
    whens: Mapping[tuple[str, str], Truth]
    nodes: Mapping[str, NodeView]
    ages_s: Mapping[str, float | None]
    memory_stalls: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What every interpretation of one tick needs."""

    health: Mapping[str, Health]
    pressure: Answer
    recorded: Answer
    capacities: Answer
    limit_s: float
    lend: Lend


async def gather(
    source: MetricsSource,
    rules: Sequence[Rule],
    nodes: Mapping[str, Role],
    *,
    now: float,
    limit_s: float,
    draining: Collection[str] = (),
    lend: Lend = lambda _node, offer: offer,
    past: bool = False,
) -> Measurements:
    """Ask everything at once: one query per rule, one per `when`, six for the rest.

    Args:
        source: Prometheus.
        rules: each is read for the nodes whose role is head: only their pressure triggers.
        nodes: every node of the cluster with its role.
        now: Unix seconds at which the tick began; with `past` the moment to look at.
        limit_s: how old a raw sample may be: min(3 scrape intervals, 180 s) by default.
        draining: nodes that take no new work.
        lend: what of its offer a node may lend by its configuration.
        past: whether `now` lies in the past: everything is evaluated for that moment.
    """
    conditions = tuple((rule, rule.when) for rule in rules if rule.when is not None)
    asked = (*_COMMON, *(rule.expr for rule in rules), *(when for _, when in conditions))
    answers = [Answer.of(result) for result in await source.query(*asked, at=now if past else None)]
    up, ages, pressure, recorded, capacities, stalled = answers[: len(_COMMON)]
    values, whens = answers[len(_COMMON) : len(_COMMON) + len(rules)], answers[len(_COMMON) + len(rules) :]
    health = {node: readings.health(node, up, ages, limit_s=limit_s, now=now) for node in nodes}
    facts = _Facts(health, pressure, recorded, capacities, limit_s, lend)
    heads = [node for node, role in nodes.items() if role is Role.HEAD]
    return Measurements(
        values={
            (rule.key, node): _value(rule, node, answer, facts)
            for rule, answer in zip(rules, values, strict=True)
            for node in heads
        },
        whens={
            (rule.key, node): readings.truth(node, answer, health[node])
            for (rule, _), answer in zip(conditions, whens, strict=True)
            for node in heads
        },
        nodes={node: _view(node, role, facts, draining=node in draining) for node, role in nodes.items()},
        ages_s={node: found.age_s for node, found in health.items()},
        memory_stalls={node: _stall(node, stalled, facts) for node in heads},
    )


def _value(rule: Rule, node: str, answer: Answer, facts: _Facts) -> Reading:
    recorded_s = readings.recorded_age(node, facts.recorded) if series.PRESSURE in rule.expr else 0.0
    return readings.reading(node, answer, facts.health[node], limit_s=facts.limit_s, recorded_s=recorded_s)


def _stall(node: str, answer: Answer, facts: _Facts) -> float | None:
    recorded_s = readings.recorded_age(node, facts.recorded)
    return readings.reading(node, answer, facts.health[node], limit_s=facts.limit_s, recorded_s=recorded_s).value


def _view(node: str, role: Role, facts: _Facts, *, draining: bool) -> NodeView:
    health = facts.health[node]
    pressure = readings.pressures(node, facts.pressure, facts.recorded, health, limit_s=facts.limit_s)
    seen = view(node, role, health, facts.capacities, pressure, draining=draining)
    if seen.offer is None:
        return seen
    lent = facts.lend(node, seen.offer)
    reason = "" if lent is not None else "its configuration says that it lends nothing (share: false)"
    return replace(seen, offer=lent, offer_reason=reason)
