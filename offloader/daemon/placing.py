"""Where a job goes that has to start again: by the engine's rules, what the last tick saw, and the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from offloader.daemon.controller import Controller
from offloader.engine.evaluate import stale_after_s
from offloader.engine.place import place, place_on
from offloader.engine.schema import Target
from offloader.model import Capacity, Obstacle, Reason
from offloader.moves.tools import Place

__all__ = ["Placing"]

_MISSED_TICKS = 10


@dataclass(frozen=True, slots=True)
class _Demand:
    """A job without its processes: it has none any more (engine.place.Demand)."""

    node: str
    usage: Capacity
    needs: Capacity


class Placing:
    """Implements moves.tools.Placer."""

    def __init__(self, controller: Callable[[], Controller | None]) -> None:
        """Args: controller: once there is one."""
        self._controller = controller

    def __call__(
        self, source: str, usage: Capacity, needs: Capacity, *, avoid: frozenset[str], only: str | None = None
    ) -> Place | Obstacle:
        """A worker outside `avoid` where one has room, else any, and with `only` that one; else what is in the way."""
        controller = self._controller()
        view = controller.view if controller is not None else None
        if controller is None or view is None:
            return Obstacle(Reason.NO_DATA, "nothing was read yet")
        age_s = controller.parts.clock.time() - view.snapshot.now
        if age_s > _MISSED_TICKS * controller.setup.tick_interval_s:
            return Obstacle(Reason.STALE, f"the last look is {age_s:.0f} s old")
        demand = _Demand(source, usage, needs)
        nodes, policy = view.snapshot.nodes, controller.setup.policy
        limit = stale_after_s(policy, view.snapshot.scrape_interval_s)
        reserved = controller.parts.store.reserved()
        if only is not None:
            in_the_way = place_on(demand, only, nodes, reserved, policy, stale_after_s=limit)
            return in_the_way[0] if in_the_way else Place(only, nodes[only].offer or Capacity())
        others = tuple(name for name in nodes if name not in avoid and name != policy.head)
        found: Target | Obstacle = Obstacle(Reason.NO_TARGET, "there is no other worker")
        if others:
            found = place(demand, nodes, reserved, policy, allowed=others, stale_after_s=limit)
        if not isinstance(found, Target):
            found = place(demand, nodes, reserved, policy, stale_after_s=limit)
        if not isinstance(found, Target):
            return found
        return Place(found.node, nodes[found.node].offer or Capacity())
