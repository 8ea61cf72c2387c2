"""The JSON that people and programs get (docs/api.md): pure functions from the domain to plain documents.

What is private (argv, working directory, reasons) is added only where the caller may see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from offloader.engine.schema import Proposal
from offloader.jobs.events import Event
from offloader.jobs.store import Step
from offloader.model import (
    Attempt,
    AttemptState,
    Candidate,
    Capacity,
    Completion,
    Decision,
    Job,
    Keep,
    Move,
    NodeView,
    Obstacle,
    Reading,
    StrategyName,
)

__all__ = [
    "PRIVATE_DATA",
    "attempt_document",
    "candidate_document",
    "capacity_document",
    "decision_document",
    "event_document",
    "job_document",
    "keep_document",
    "move_document",
    "node_document",
    "obstacle_document",
    "proposal_document",
    "proposal_sentence",
    "reading_document",
]

Document = dict[str, Any]

PRIVATE_DATA = frozenset({"considered", "obstacles"})
"""Keys of an event's or decision's data that only admins get: reasons about other people's processes."""


def capacity_document(capacity: Capacity) -> Document:
    """Cores, bytes, GPUs."""
    return {
        "cores": round(capacity.cores, 3),
        "memory_bytes": capacity.memory_bytes,
        "gpus": capacity.gpus,
        "gpu_memory_bytes": capacity.gpu_memory_bytes,
    }


def reading_document(reading: Reading) -> Document:
    """One value with its age, or the problem that forbids to act on it."""
    return {
        "value": reading.value,
        "age_s": _rounded(reading.age_s),
        "problem": reading.problem.value if reading.problem else None,
        "detail": reading.detail,
    }


def obstacle_document(obstacle: Obstacle) -> Document:
    """What is in the way, what was seen, what would mend it."""
    return {"reason": obstacle.reason.value, "seen": obstacle.seen, "remedy": obstacle.remedy}


def node_document(node: NodeView, reserved: Capacity) -> Document:
    """A node: up or not, what it has, offers and how much of that is taken."""
    return {
        "name": node.name,
        "role": node.role.value,
        "up": node.up,
        "draining": node.draining,
        "total": capacity_document(node.total),
        "offer": capacity_document(node.offer) if node.offer is not None else None,
        "offer_reason": node.offer_reason,
        "reserved": capacity_document(reserved),
        "pressure": {resource.value: reading_document(reading) for resource, reading in node.pressure.items()},
    }


def candidate_document(
    candidate: Candidate, target: str | None, obstacles: Sequence[Obstacle], *, private: bool
) -> Document:
    """One row of `scan`.

    Args:
        candidate: what could move.
        target: where to, None where it cannot.
        obstacles: everything in the way, the candidate's own and those of placement.
        private: whether the caller may see argv, working directory and reasons.
    """
    leader = candidate.leader
    document: Document = {
        "pid": leader.pid,
        "name": leader.name,
        "user": leader.user,
        "uid": leader.identity.uid,
        "node": candidate.node,
        "class": leader.process_class.value,
        "movable": not obstacles,
        "target": target,
        "confidence": round(candidate.confidence, 2),
        "complexity": candidate.complexity,
        "requirements": capacity_document(candidate.needs),
        "usage": capacity_document(candidate.usage),
        "age_s": round(candidate.age_s, 1),
        "processes": len(candidate.members),
        "restart_safe": candidate.restart_safe,
        "reason": None,
        "obstacles": [],
        "owner_only": [],
    }
    if private:
        shown = (*obstacles, *candidate.owner_only)
        document |= {
            "reason": shown[0].reason.value if shown else None,
            "obstacles": [obstacle_document(obstacle) for obstacle in obstacles],
            "owner_only": [obstacle_document(obstacle) for obstacle in candidate.owner_only],
            "argv": [part.decode("utf-8", "backslashreplace") for part in leader.argv],
            "cwd": leader.cwd,
        }
    return document


def move_document(
    move: Move, job: Job | None, *, steps: Sequence[Step] = (), attempts: Sequence[Attempt] = (), private: bool = True
) -> Document:
    """A move, its job's outcome, and where asked for its timeline and the job's attempts."""
    completion = job.completion if job else Completion()
    document: Document = {
        "id": move.id,
        "job": move.job,
        "pid": move.identity.pid,
        "name": job.name if job else None,
        "user": job.user if job else None,
        "uid": job.uid if job else move.identity.uid,
        "source": move.source,
        "target": move.target,
        "strategy": move.strategy.value,
        "backend": move.backend,
        "submission_id": move.submission_id,
        "state": move.state.value,
        "final": move.state.final,
        "automatic": move.automatic,
        "rule": move.rule,
        "requested_by": move.requested_by,
        "approved_by": move.approved_by,
        "created_t": move.created_t,
        "updated_t": move.updated_t,
        "downtime_s": _rounded(move.downtime_s),
        "reason": move.reason.value if move.reason and private else None,
        "detail": move.detail if private else "",
        "job_state": job.state.value if job else None,
        "exit_code": completion.exit_code,
        "signal": completion.signal,
    }
    if steps:
        document["timeline"] = [_step_document(step, private=private) for step in steps]
    if attempts:
        document["attempts"] = [attempt_document(attempt) for attempt in attempts]
    return document


def job_document(job: Job, attempts: Sequence[Attempt], *, move: Move | None, said: str) -> Document:
    """A job over its whole life.

    Args:
        job: which one.
        attempts: its own, by ascending epoch.
        move: the newest one; None: `run` started it, and it never moved.
        said: the newest sentence about what went wrong, for people.
    """
    last = attempts[-1] if attempts else None
    return {
        "id": job.id,
        "move": move.id if move else None,
        "name": job.name,
        "user": job.user,
        "uid": job.uid,
        "state": job.state.value,
        "waiting": last is not None and last.state is AttemptState.PENDING,
        "node": last.node or None if last else None,
        "exit_code": job.completion.exit_code,
        "signal": job.completion.signal,
        "restart_safe": job.restart_safe,
        "created_t": job.created_t,
        "detail": said,
        "attempts": [attempt_document(attempt) for attempt in attempts],
    }


def attempt_document(attempt: Attempt) -> Document:
    """One place where the job ran."""
    return {
        "epoch": attempt.epoch,
        "node": attempt.node,
        "backend": attempt.backend,
        "submission_id": attempt.submission_id,
        "pid": attempt.pid,
        "state": attempt.state.value,
        "started_t": attempt.started_t,
        "ended_t": attempt.ended_t,
        "exit_code": attempt.completion.exit_code,
        "signal": attempt.completion.signal,
    }


def decision_document(decision: Decision, t: float) -> Document:
    """A decision with everything that explains it; `considered` is for admins (see PRIVATE_DATA)."""
    leader = decision.candidate.leader if decision.candidate else None
    return {
        "t": t,
        "kind": decision.kind.value,
        "rule": decision.rule,
        "node": decision.node,
        "mode": decision.mode.value,
        "value": decision.value,
        "age_s": _rounded(decision.age_s),
        "threshold": decision.threshold,
        "relief": decision.relief,
        "reason": decision.reason.value if decision.reason else None,
        "detail": decision.detail,
        "pid": leader.pid if leader else None,
        "name": leader.name if leader else None,
        "user": leader.user if leader else None,
        "target": decision.target,
        "strategy": decision.strategy.value if decision.strategy else None,
        "expected_loss": _rounded(decision.expected_loss),
        "relieves": {resource.value: ratio for resource, ratio in decision.relieves.items()},
        "considered": [{"pid": pid, "reason": reason.value, "seen": seen} for pid, reason, seen in decision.considered],
    }


def proposal_document(proposal: Proposal, *, private: bool) -> Document:
    """One proposal (docs/api.md)."""
    return {
        "id": proposal.id,
        "pid": proposal.pid,
        "name": proposal.name,
        "user": proposal.user,
        "uid": proposal.uid,
        "rule": proposal.rule,
        "target": proposal.target,
        "strategy": proposal.strategy.value,
        "fallbacks": [one.value for one in proposal.fallbacks],
        "value": proposal.value,
        "threshold": proposal.threshold,
        "relieves": {resource.value: round(ratio, 4) for resource, ratio in proposal.relieves.items()},
        "loses_s": round(proposal.age_s, 1) if proposal.strategy is StrategyName.RESTART else 0.0,
        "reason": proposal.reason.value,
        "detail": proposal.detail if private else "",
        "text": proposal_sentence(proposal),
        "owners_only": proposal.owners_only,
        "made_t": proposal.made_t,
        "expires_t": proposal.expires_t,
        "approved_by": proposal.approved_by,
        "answered_t": proposal.answered_t,
        "outcome": proposal.outcome.value if proposal.outcome else None,
    }


def proposal_sentence(proposal: Proposal) -> str:
    """What would be done and why, for everybody: nothing that was seen of the process."""
    what = f"move {proposal.name} (pid {proposal.pid}, {proposal.user}) to {proposal.target} by {proposal.strategy}"
    value = f"reads {proposal.value:.0%}, " if proposal.value is not None else ""
    relieves = ", ".join(f"{ratio:.0%} {resource}" for resource, ratio in proposal.relieves.items())
    relief = f"; it would relieve {relieves}" if relieves else ""
    others = f", else by {' or by '.join(proposal.fallbacks)}" if proposal.fallbacks else ""
    return f"{what}{others}: {proposal.rule} {value}its threshold is {proposal.threshold:.0%}{relief}"


def event_document(event: Event, *, private: bool) -> Document:
    """One entry of the event log."""
    return {
        "id": event.id,
        "t": event.t,
        "kind": event.kind.value,
        "subject": event.subject,
        "message": event.message,
        "reason": event.reason.value if event.reason else None,
        "data": without_private(event.data) if not private else dict(event.data),
    }


def keep_document(keep: Keep) -> Document:
    """A job that its owner keeps here."""
    return {
        "id": keep.id,
        "pid": keep.pid,
        "name": keep.name,
        "user": keep.user,
        "uid": keep.uid,
        "processes": len(keep.processes),
        "created_t": keep.created_t,
        "until_t": keep.until_t,
        "by_uid": keep.by_uid,
    }


def without_private(data: Mapping[str, Any]) -> Document:
    """A decision's or event's data for everybody."""
    return {key: value for key, value in data.items() if key not in PRIVATE_DATA}


def _step_document(step: Step, *, private: bool) -> Document:
    return {
        "t": step.t,
        "event": step.state.value,
        "reason": step.reason.value if step.reason and private else None,
        "detail": step.detail if private else "",
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
