"""What offload rules inherit where they say nothing (R2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from offloader.model import Resource

__all__ = ["BACKENDS", "FOR_S", "RELIEF_POINTS", "THRESHOLDS", "RuleDefaults"]

THRESHOLDS: Final[Mapping[Resource, float]] = MappingProxyType(
    {Resource.CPU: 0.80, Resource.MEMORY: 0.70, Resource.GPU: 0.90}
)
RELIEF_POINTS: Final[Mapping[Resource, float]] = MappingProxyType(
    {Resource.CPU: 0.15, Resource.MEMORY: 0.10, Resource.GPU: 0.10}
)
"""How far below the threshold relief lies."""

FOR_S: Final[Mapping[Resource, float]] = MappingProxyType(
    {Resource.CPU: 120.0, Resource.MEMORY: 30.0, Resource.GPU: 600.0}
)

BACKENDS: Final = frozenset(("ray",))
"""Names of the backends that exist; this package may not import them."""


@dataclass(frozen=True, slots=True)
class RuleDefaults:
    """What a rule inherits, and what it is checked against (None: not checked)."""

    scrape_interval_s: float = 5.0
    interval_s: float = 5.0
    cooldown_s: float = 30.0
    thresholds: Mapping[Resource, float] = field(default_factory=lambda: THRESHOLDS)
    workers: Collection[str] | None = None
    head: str | None = None
    backends: Collection[str] | None = BACKENDS
    webhook: bool | None = None
