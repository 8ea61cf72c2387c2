"""The JSON that `why` gives (docs/why.md, docs/why.schema.json): pure functions from the engine's answers.

`version` is raised when a key goes away or changes its meaning; further keys may come without that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from offloader.daemon.documents import candidate_document, obstacle_document
from offloader.daemon.story import Story
from offloader.engine.meanings import MEANINGS
from offloader.engine.remedies import REMEDIES
from offloader.engine.select import Option, Way
from offloader.engine.why import RuleAnswer, TargetAnswer, WhyProcess
from offloader.model import Decision, Identity, Move, Obstacle

__all__ = ["VERSION", "cluster_document", "move_why_document", "process_document"]

Document = dict[str, Any]

VERSION = 1
_SHOWN = 20
"""Processes of a job, and jobs that were passed over, that are listed."""


def cluster_document(
    told: Story, rules: list[Document], moves: Sequence[Move], *, t: float, running: bool, private: bool
) -> Document:
    """`why` alone.

    Args:
        told: the chain.
        rules: as in the status document.
        moves: those in flight.
        t: Unix seconds of the view that all of this is about.
        running: whether a controller acts on it.
        private: whether the reader may see what concerns other people's processes.
    """
    decision = told.decision
    return {
        "kind": "cluster",
        "version": VERSION,
        "t": t,
        "running": running,
        "sentence": told.sentence,
        **told.chain.to_json(),
        "next": told.kind,
        "candidates": _passed_over(decision) if decision is not None and private else [],
        "rules": rules,
        "moves_in_flight": [move.id for move in moves],
    }


def process_document(
    pid: int, answer: WhyProcess, moves: Sequence[Move], *, t: float, running: bool, private: bool
) -> Document:
    """`why PID`, for the job's owner and admins.

    Args:
        pid: the one that was asked for.
        answer: the engine's.
        moves: recent ones of the same process.
        t: Unix seconds of the view that rules and targets are from.
        running: whether a controller acts on it.
        private: whether the reader may also see what concerns other people's processes (an admin).
    """
    candidate = answer.candidate
    return {
        "kind": "process",
        "version": VERSION,
        "t": t,
        "running": running,
        "pid": pid,
        "verdict": answer.verdict.value,
        "reason": answer.reason.value if answer.reason else None,
        "sentence": answer.sentence,
        "remedy": answer.remedy,
        "job": candidate_document(candidate, answer.target, candidate.obstacles, private=True),
        "members": [
            {"pid": one.pid, "comm": one.comm, "state": one.state, "cores": round(one.cpu_cores, 3)}
            for one in candidate.members[:_SHOWN]
        ],
        "relieves": {resource.value: round(ratio, 4) for resource, ratio in answer.relieves.items()},
        "rules": [_rule(one, candidate.identity, private=private) for one in answer.rules],
        "ways": [_way(one) for one in answer.ways],
        "targets": [_target(one) for one in answer.targets],
        "commands": answer.commands,
        "moves": [_move(one) for one in moves],
    }


def move_why_document(move: Document, sentence: str, *, t: float, running: bool) -> Document:
    """`why MOVE`, for its owner and admins; `move` as the API shows it, with its timeline."""
    reason = move["reason"]
    return {
        "kind": "move",
        "version": VERSION,
        "t": t,
        "running": running,
        "sentence": sentence,
        "reason": reason,
        "remedy": next((text for code, text in REMEDIES.items() if code == reason), ""),
        "move": move,
    }


def _passed_over(decision: Decision) -> list[Document]:
    """The largest jobs that were looked at and not chosen."""
    return [
        {"pid": pid, "reason": reason.value, "seen": seen, "meaning": MEANINGS[reason]}
        for pid, reason, seen in decision.considered[:_SHOWN]
    ]


def _rule(one: RuleAnswer, identity: Identity, *, private: bool) -> Document:
    """`reason` and `seen` are the rule's own; `against` is what speaks against the job, if the rule acted."""
    decision = one.decision
    chosen = decision.candidate
    about_others = chosen is not None and chosen.identity != identity
    against = one.against
    return {
        "rule": decision.rule,
        "resource": one.rule.resource.value,
        "state": one.phase.value,
        "mode": decision.mode.value,
        "value": decision.value,
        "age_s": decision.age_s,
        "threshold": decision.threshold,
        "relief": decision.relief,
        "decision": decision.kind.value,
        "reason": decision.reason.value if decision.reason else None,
        "seen": decision.detail if private or not about_others else "",
        "against": _obstacle(against) if against else None,
        "way": _way(one.choice.way) if isinstance(one.choice, Option) else None,
    }


def _way(way: Way) -> Document:
    """Seconds of work lost and of standing still; `lost_s` is both."""
    return {
        "strategy": way.strategy.value,
        "work_lost_s": round(way.lost_s - way.stop_s, 1),
        "stop_s": round(way.stop_s, 1),
        "lost_s": round(way.lost_s, 1),
        "blocked": _obstacle(way.blocked) if way.blocked else None,
        "owner_only": way.owner_only,
    }


def _target(one: TargetAnswer) -> Document:
    return {
        "node": one.node,
        "fits": not one.obstacles,
        "expected": {
            resource.value: {
                "now": expected.now,
                "predicted": round(expected.predicted, 4),
                "limit": round(expected.limit, 4),
                "threshold": expected.threshold,
            }
            for resource, expected in one.expected.items()
        },
        "obstacles": [_obstacle(obstacle) for obstacle in one.obstacles],
    }


def _obstacle(one: Obstacle) -> Document:
    return {**obstacle_document(one), "meaning": MEANINGS[one.reason]}


def _move(move: Move) -> Document:
    return {
        "id": move.id,
        "state": move.state.value,
        "target": move.target,
        "created_t": move.created_t,
        "reason": move.reason.value if move.reason else None,
        "detail": move.detail,
    }
