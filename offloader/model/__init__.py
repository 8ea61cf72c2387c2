"""The words of the domain as frozen types. Everything imports this package; it imports only the process classes.

Units are in the names: `_s` seconds, `_bytes` bytes, `cores` CPU cores (fractional), `_ratio` and pressures 0..1.
Wall-clock times are Unix seconds (float).
"""

from __future__ import annotations

from exporter.classify import ProcessClass
from offloader.model.corrections import Correction, Corrections
from offloader.model.decisions import Decision, DecisionKind, NodeView, Reading, Snapshot
from offloader.model.keeps import Keep
from offloader.model.processes import Candidate, Checkpointing, Identity, Process
from offloader.model.reasons import Obstacle, Reason
from offloader.model.receipts import Decided, Estimate, Figure, Loss, Pressures, Receipt
from offloader.model.resources import Capacity, Mode, Reservation, ReservationKind, Resource, Role, StrategyName, Truth
from offloader.model.rules import Budgets, CheckpointPattern, Policy, Rule, RuleMove, RuleSelect, Toggles
from offloader.model.staging import DEFAULT_EXCLUDES, StagingLimits, bad_pattern
from offloader.model.work import Attempt, AttemptState, Completion, Job, JobState, Move, MoveState

__all__ = [
    "DEFAULT_EXCLUDES",
    "Attempt",
    "AttemptState",
    "Budgets",
    "Candidate",
    "Capacity",
    "CheckpointPattern",
    "Checkpointing",
    "Completion",
    "Correction",
    "Corrections",
    "Decided",
    "Decision",
    "DecisionKind",
    "Estimate",
    "Figure",
    "Identity",
    "Job",
    "JobState",
    "Keep",
    "Loss",
    "Mode",
    "Move",
    "MoveState",
    "NodeView",
    "Obstacle",
    "Policy",
    "Pressures",
    "Process",
    "ProcessClass",
    "Reading",
    "Reason",
    "Receipt",
    "Reservation",
    "ReservationKind",
    "Resource",
    "Role",
    "Rule",
    "RuleMove",
    "RuleSelect",
    "Snapshot",
    "StagingLimits",
    "StrategyName",
    "Toggles",
    "Truth",
    "bad_pattern",
]
