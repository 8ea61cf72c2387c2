"""What the controller runs with: one loaded configuration, replaced as a whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.classify import Pattern
from offloader.config.models import Cluster
from offloader.config.policy import patterns
from offloader.config.sharing import capped
from offloader.model import Capacity, Policy, Resource, Role, Rule

__all__ = ["Setup"]


@dataclass(frozen=True, slots=True)
class Setup:
    """Cluster, rules and policy that belong together, and the file that they came from.

    `look_backs`: how far back the pressure of a resource looks, seconds, where that is known.
    """

    file: Path
    cluster: Cluster
    rules: tuple[Rule, ...]
    policy: Policy
    look_backs: Mapping[Resource, float] = field(default_factory=dict)

    @property
    def roles(self) -> dict[str, Role]:
        """Every node with its role."""
        return {node.name: node.role for node in self.cluster.nodes}

    @property
    def draining(self) -> frozenset[str]:
        """Nodes that get nothing new."""
        return frozenset(node.name for node in self.cluster.nodes if node.draining)

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """What tells classes of work."""
        return patterns(self.cluster)

    def lend(self, name: str, offer: Capacity) -> Capacity | None:
        """What of its offer a node may lend by its `share:`; None: nothing."""
        node = self.cluster.node(name)
        return capped(offer, node.share) if node is not None else offer

    @property
    def tick_interval_s(self) -> float:
        """The shortest interval that any rule asks for, at most that of the configuration."""
        return min((rule.interval_s for rule in self.rules), default=self.cluster.auto_offload.check_interval_s)
