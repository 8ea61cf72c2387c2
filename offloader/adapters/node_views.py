"""A node as one tick sees it, from the capacity series in Prometheus' answers. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from offloader.adapters.readings import Answer, Health
from offloader.config import series
from offloader.model import Capacity, NodeView, Reading, Resource, Role

__all__ = ["CAPACITIES", "view"]

_TOTAL = (series.CORES, series.MEMORY_BYTES, series.GPUS, series.GPU_MEMORY_BYTES)
_OFFER = (series.OFFER_CORES, series.OFFER_MEMORY_BYTES, series.OFFER_GPUS, series.OFFER_GPU_MEMORY_BYTES)
CAPACITIES = (*_TOTAL, *_OFFER)


def view(
    name: str,
    role: Role,
    health: Health,
    capacities: Answer,
    pressure: Mapping[Resource, Reading],
    *,
    draining: bool = False,
) -> NodeView:
    """A node with its totals and its offer: none unless everything about it is known and believable."""
    numbers, contradictory = _numbers(name, capacities)
    offer = _offer(numbers)
    reason = health.detail or capacities.detail or contradictory or ("" if offer else "nothing is free to lend")
    return NodeView(
        name=name,
        role=role,
        up=health.up,
        draining=draining,
        total=_capacity(numbers, _TOTAL),
        offer=None if reason else offer,
        offer_reason=reason,
        pressure=pressure,
    )


def _numbers(node: str, capacities: Answer) -> tuple[dict[str, float], str]:
    """Series name → value, and what is contradictory: two values for one name, or one that is no amount."""
    numbers: dict[str, float] = {}
    for sample in capacities.here(node):
        name = sample.labels.get("__name__", "")
        if name in numbers:
            return {}, f"there is more than one series {name} for {node}"
        if not math.isfinite(sample.value) or sample.value < 0:
            return {}, f"{name} is {sample.value} for {node}"
        numbers[name] = sample.value
    return numbers, ""


def _offer(numbers: Mapping[str, float]) -> Capacity | None:
    """Nothing can run without a core and memory, whatever else is free."""
    if not numbers.get(series.OFFER_CORES) or not numbers.get(series.OFFER_MEMORY_BYTES):
        return None
    return _capacity(numbers, _OFFER)


def _capacity(numbers: Mapping[str, float], names: tuple[str, str, str, str]) -> Capacity:
    cores, memory, gpus, gpu_memory = (numbers.get(name, 0.0) for name in names)
    return Capacity(cores, int(memory), int(gpus), int(gpu_memory))
