"""What happened, for people and programs: the event log's entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from offloader.model import Reason

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    """What an event is about; its subject says which one."""

    DECISION = "decision"  # subject: rule key
    PROPOSAL = "proposal"  # subject: id of a planned move that waits for somebody's word
    MOVE = "move"  # subject: move id
    JOB = "job"  # subject: job id
    RULE = "rule"  # subject: rule key
    NODE = "node"  # subject: node name
    OWNER = "owner"  # something told to, or said by, a job's owner; subject: job or move id
    TOGGLE = "toggle"  # somebody switched something; subject: what
    CONTROLLER = "controller"  # start, stop, reload, trouble of its own; subject: what


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. `data` is JSON-able and holds neither argv nor environments: events are shown to everybody."""

    t: float
    kind: EventKind
    subject: str
    message: str
    reason: Reason | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0  # given by the store, ascending; 0: not stored yet
