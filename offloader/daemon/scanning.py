"""What `scan` shows: every job on the head with its verdict and its target. The same with and without a controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from offloader.daemon.documents import candidate_document, obstacle_document
from offloader.daemon.setup import Setup
from offloader.engine.evaluate import stale_after_s
from offloader.engine.place import place, usable
from offloader.engine.schema import Target
from offloader.engine.select import Way, ways
from offloader.errors import NotFound, UsageError
from offloader.model import Candidate, Obstacle, Reason, Snapshot, StrategyName

__all__ = ["check_nodes", "scan_documents"]

Document = dict[str, Any]


def check_nodes(setup: Setup, nodes: tuple[str, ...]) -> None:
    """Only the head's processes are looked at: its pressure is what triggers. Raises NotFound, UsageError."""
    for node in nodes:
        if node not in setup.roles:
            raise NotFound(f"there is no node {node} in {setup.file}; known: {', '.join(setup.roles)}")
        if node != setup.policy.head:
            raise UsageError(f"{node} is a worker: only the head's processes ({setup.policy.head}) are offloaded")


def scan_documents(
    setup: Setup,
    snapshot: Snapshot,
    available: tuple[StrategyName, ...],
    sees: Callable[[int], bool],
    *,
    everything: bool,
) -> list[Document]:
    """A document per job, those that can be moved first.

    Args:
        setup: policy and intervals.
        snapshot: with candidates.
        available: strategies that can be carried out.
        sees: whether the caller may see the private part of that uid's jobs.
        everything: also those that cannot be moved.
    """
    limit = stale_after_s(setup.policy, snapshot.scrape_interval_s)
    nodes = usable(snapshot.nodes.values(), setup.policy, stale_after_s=limit)
    documents = []
    for candidate in snapshot.candidates:
        found = place(candidate, nodes, snapshot.reserved, setup.policy, stale_after_s=limit)
        target = found.node if isinstance(found, Target) and candidate.movable else None
        obstacles = _obstacles(candidate, found, available, setup, snapshot)
        private = sees(candidate.leader.identity.uid)
        document = candidate_document(candidate, target, obstacles, private=private)
        documents.append(document | _strategies(ways(candidate, available), private=private))
    shown = [document for document in documents if everything or document["movable"]]
    return sorted(shown, key=lambda document: not document["movable"])


def _strategies(found: tuple[Way, ...], *, private: bool) -> Document:
    """How it would be moved by its owner, and what keeps it from each other way; the best first."""
    open_ways = [way for way in found if way.blocked is None]
    best = min(open_ways, key=lambda way: way.lost_s, default=None)
    return {
        "strategy": best.strategy.value if best is not None else None,
        "strategies": [
            {
                "strategy": way.strategy.value,
                "lost_s": round(way.lost_s, 1),
                "stop_s": round(way.stop_s, 1),
                "blocked": obstacle_document(way.blocked) if way.blocked is not None and private else None,
                "open": way.blocked is None,
            }
            for way in sorted(found, key=lambda way: (way.blocked is not None, way.lost_s))
        ],
    }


def _obstacles(
    candidate: Candidate,
    found: Target | Obstacle,
    available: tuple[StrategyName, ...],
    setup: Setup,
    snapshot: Snapshot,
) -> tuple[Obstacle, ...]:
    """What forbids it to everybody; where nothing else does, that it has no strategy or no place."""
    if candidate.obstacles:
        return candidate.obstacles
    blocked = [way.blocked for way in ways(candidate, available)]
    if all(blocked):
        return tuple(obstacle for obstacle in blocked if obstacle is not None)
    if isinstance(found, Target):
        return ()
    if not any(name != setup.policy.head for name in snapshot.nodes):
        return (Obstacle(Reason.NO_TARGET, "there is no worker", "add one to the configuration"),)
    return (found,)
