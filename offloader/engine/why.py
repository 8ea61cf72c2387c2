"""Why one process is moved, or is not: verdict, every rule's answer, ways, targets, and what to type."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offloader.engine.explain import progress
from offloader.engine.place import place_on, predict
from offloader.engine.select import ways
from offloader.model import (
    Candidate,
    Capacity,
    Decision,
    DecisionKind,
    Obstacle,
    Policy,
    Role,
    Snapshot,
    StrategyName,
)

__all__ = ["WhyProcess", "why"]


@dataclass(frozen=True, slots=True)
class WhyProcess:
    """Why one job is, or is not, moved: `verdict` is moves, would_move, owner_only, never or not_now."""

    pid: int
    verdict: str
    sentence: str
    obstacles: tuple[Obstacle, ...]
    owner_only: tuple[Obstacle, ...]
    rules: tuple[dict[str, Any], ...]
    ways: tuple[dict[str, Any], ...]
    targets: tuple[dict[str, Any], ...]
    commands: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain dict. No argv in it: reasons name processes by comm and pid."""
        return {
            "pid": self.pid,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "obstacles": [_obstacle(one) for one in self.obstacles],
            "owner_only": [_obstacle(one) for one in self.owner_only],
            "rules": list(self.rules),
            "ways": list(self.ways),
            "targets": list(self.targets),
            "commands": self.commands,
        }


def why(
    candidate: Candidate,
    decisions: Sequence[Decision],
    snapshot: Snapshot,
    policy: Policy,
    *,
    available: tuple[StrategyName, ...] = (StrategyName.RESTART,),
) -> WhyProcess:
    """Everything about moving one job (`candidate_for` of a pid): verdict, rules, ways, targets, commands.

    Args:
        candidate: The job, fresh.
        decisions: Those of the last tick.
        snapshot: The one that they were made from.
        policy: What holds for all rules.
        available: Strategies that can be carried out.
    """
    pid = candidate.leader.pid
    verdict, sentence = _verdict(candidate, decisions)
    return WhyProcess(
        pid=pid,
        verdict=verdict,
        sentence=sentence,
        obstacles=candidate.obstacles,
        owner_only=candidate.owner_only,
        rules=tuple(_rule(pid, decision) for decision in decisions),
        ways=tuple(
            {
                "strategy": way.strategy.value,
                "lost_s": round(way.lost_s, 1),
                "stop_s": round(way.stop_s, 1),
                "blocked": _obstacle(way.blocked) if way.blocked else None,
            }
            for way in ways(candidate, available)
        ),
        targets=tuple(_targets(candidate, snapshot, policy)),
        commands=_commands(pid, candidate),
    )


def _obstacle(one: Obstacle) -> dict[str, str]:
    return {"reason": one.reason.value, "seen": one.seen, "remedy": one.remedy}


def _verdict(candidate: Candidate, decisions: Sequence[Decision]) -> tuple[str, str]:
    """One word and one sentence; the strongest thing that can be said comes first."""
    if candidate.obstacles:
        first = candidate.obstacles[0]
        return "never", f"It is never moved: {first.seen}."
    mine = [one for one in decisions if one.candidate is not None and one.candidate.identity == candidate.identity]
    acting = next((one for one in mine if one.kind is DecisionKind.MOVE), None)
    if acting is not None:
        return "moves", f"It is being moved to {acting.target} for rule {acting.rule}."
    if mine:
        held = f": {mine[0].detail}" if mine[0].detail else ""
        return "would_move", f"It would be moved to {mine[0].target} for rule {mine[0].rule}{held}."
    if candidate.owner_only:
        return "owner_only", f"Only its owner may move it: {candidate.owner_only[0].seen}."
    seen = next((seen for one in decisions for pid, _, seen in one.considered if pid == candidate.leader.pid), None)
    return "not_now", f"It is not moved now: {seen or _nothing_to_do(decisions)}."


def _nothing_to_do(decisions: Sequence[Decision]) -> str:
    return max(decisions, key=progress).detail if decisions else "no rules are loaded"


def _rule(pid: int, decision: Decision) -> dict[str, Any]:
    """What one rule says of the job: its own reason where it considered it, else the rule's."""
    own = next(((reason, seen) for one, reason, seen in decision.considered if one == pid), None)
    reason, seen = own or (decision.reason, decision.detail)
    return {
        "rule": decision.rule,
        "value": decision.value,
        "age_s": decision.age_s,
        "threshold": decision.threshold,
        "relief": decision.relief,
        "reason": reason.value if reason else None,
        "seen": seen,
    }


def _targets(candidate: Candidate, snapshot: Snapshot, policy: Policy) -> list[dict[str, Any]]:
    """Every worker with the pressures it would have, or what speaks against it."""
    found: list[dict[str, Any]] = []
    for name, node in sorted(snapshot.nodes.items()):
        if node.role is Role.HEAD:
            continue
        obstacles = place_on(candidate, name, snapshot.nodes, snapshot.reserved, policy)
        predicted = predict(candidate, node, snapshot.reserved.get(name, Capacity()))
        found.append(
            {
                "node": name,
                "predicted": {resource.value: round(value, 4) for resource, value in predicted.items()},
                "obstacles": [_obstacle(one) for one in obstacles],
            }
        )
    return found


def _commands(pid: int, candidate: Candidate) -> dict[str, str]:
    """What to type to move it; what keeps it here for ever."""
    forbid = {"forbid": "start it with GRID_OFFLOAD=never in its environment"}
    return forbid if candidate.obstacles else {"move": f"grid-offloader move {pid}", **forbid}
