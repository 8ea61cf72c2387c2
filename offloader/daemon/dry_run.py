"""`move --dry-run`: the whole plan of a move as one document, with everything that is in its way (docs/api.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offloader.daemon.documents import capacity_document, obstacle_document
from offloader.engine.place import place_on, predict
from offloader.model import Candidate, Capacity, Obstacle, Policy, Reason, Role, Snapshot
from offloader.moves.baggage import baggage
from offloader.moves.plan import MovePlan
from offloader.moves.preflight import Findings

__all__ = ["Prospect", "passed_over", "plan_document", "prospects"]

Document = dict[str, Any]

_STREAMS = {"0": "stdin", "1": "stdout", "2": "stderr"}


@dataclass(frozen=True, slots=True)
class Prospect:
    """A worker as a target: its pressures with the job on it, and what speaks against it."""

    node: str
    predicted: Mapping[str, float]
    obstacles: tuple[Obstacle, ...]


def prospects(candidate: Candidate, snapshot: Snapshot, policy: Policy, limit_s: float) -> tuple[Prospect, ...]:
    """Every worker, by name. `limit_s`: age at which a pressure is too old."""
    found = []
    for name, node in sorted(snapshot.nodes.items()):
        if node.role is Role.HEAD:
            continue
        predicted = predict(candidate, node, snapshot.reserved.get(name, Capacity()))
        against = place_on(candidate, name, snapshot.nodes, snapshot.reserved, policy, stale_after_s=limit_s)
        found.append(Prospect(name, {key.value: round(value, 3) for key, value in predicted.items()}, against))
    return tuple(found)


def plan_document(
    asked: MovePlan,
    findings: Findings,
    obstacles: Sequence[Obstacle],
    workers: Sequence[Prospect],
    *,
    chosen: bool,
) -> Document:
    """For the job's owner and for those who may act for him: it holds names of variables and of files.

    Args:
        asked: what would be given to the mover; its target is "" where there is none.
        findings: of preflight.
        obstacles: all of them, those of placement first.
        workers: every worker as a target.
        chosen: whether the target was named, instead of being the least loaded one.
    """
    candidate, leader = asked.candidate, asked.candidate.leader
    luggage = baggage(findings.capture, asked)
    return {
        "dry_run": True,
        "would_move": not obstacles,
        "pid": leader.pid,
        "name": leader.name,
        "user": leader.user,
        "uid": leader.identity.uid,
        "source": candidate.node,
        "target": asked.target or None,
        "target_why": _why(asked.target, workers, chosen=chosen),
        "targets": [_prospect_document(worker) for worker in workers],
        "strategy": asked.strategy.value,
        "backend": asked.backend,
        "needs": capacity_document(candidate.needs),
        "processes": len(candidate.members),
        "members": [{"pid": one.pid, "ppid": one.ppid, "name": one.name} for one in candidate.members],
        "loses_s": round(asked.loses_s, 1),
        "obstacles": [obstacle_document(obstacle) for obstacle in obstacles],
        "owner_only": [obstacle_document(obstacle) for obstacle in candidate.owner_only],
        "passes_over": passed_over(candidate),
        "notes": list(findings.notes),
        "environment": {"travels": list(luggage.travels), "stays": list(luggage.stays), "added": list(luggage.added)},
        "streams": _streams(findings),
        "env_vars": sorted(asked.env),
    }


def passed_over(candidate: Candidate) -> list[Document]:
    """What would keep everybody else from it, and its owner not: that he keeps it here."""
    return [obstacle_document(one) for one in candidate.obstacles if one.reason is Reason.KEPT]


def _why(target: str, workers: Sequence[Prospect], *, chosen: bool) -> str:
    if not target:
        return "no worker can take it"
    if chosen:
        return "you chose it"
    fitting = sum(1 for worker in workers if not worker.obstacles)
    return (
        f"the least loaded with it, of {fitting} that can take it" if fitting > 1 else "the only one that can take it"
    )


def _prospect_document(worker: Prospect) -> Document:
    against = [obstacle_document(obstacle) for obstacle in worker.obstacles]
    return {"node": worker.node, "predicted": dict(worker.predicted), "obstacles": against}


def _streams(findings: Findings) -> Document:
    """What each standard stream is at the source, and becomes; null where preflight did not get so far."""
    here, there = findings.capture.get("stdio", {}), findings.streams or {}
    return {
        name: {"source": here[number]["kind"] if number in here else None, "target": there.get(number)}
        for number, name in _STREAMS.items()
    }
