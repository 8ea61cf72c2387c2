"""What became of one step on one node. An unreachable node is such an outcome, never an exception for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outcome", "Told", "by_node"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step on one node."""

    node: str
    step: str  # a service's name, or what else was done
    ok: bool
    state: str  # one word: started, running, stopped, installed, present, failed, unreachable, skipped …
    changed: bool = False
    detail: str = ""
    took_s: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "step": self.step,
            "ok": self.ok,
            "state": self.state,
            "changed": self.changed,
            "detail": self.detail,
            "took_s": round(self.took_s, 2),
            **self.data,
        }


Told = Callable[[Outcome], None]
"""Hears of every outcome as it comes."""


def by_node(outcomes: list[Outcome], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """One document per node, in the order given."""
    return [
        {
            "node": name,
            "ok": all(one.ok for one in outcomes if one.node == name),
            "changed": any(one.changed for one in outcomes if one.node == name),
            "steps": [one.document() for one in outcomes if one.node == name],
        }
        for name in names
    ]
