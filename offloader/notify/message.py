"""One message to the owner of a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from offloader.model import Reason

__all__ = ["Message", "MessageKind", "Origin", "Why"]


class MessageKind(StrEnum):
    """What happened, or is going to."""

    NOTICE = "notice"  # a rule is going to move it
    WITHDRAWN = "withdrawn"  # it is not, after all
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job came from, to reach its owner there. `tty`: tty_nr of proc(5), 0: none; `log`: its output file."""

    tty: int = 0
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """The rule that chose a job, what it asked Prometheus, and the answer (ratios)."""

    rule: str
    query: str
    value: float | None
    threshold: float


@dataclass(frozen=True, slots=True)
class Message:
    """Everything that is said. No argv, environment or path is in it: a site's command hands it on to mail or chat."""

    kind: MessageKind
    t: float
    uid: int
    user: str
    pid: int
    name: str
    source: str
    target: str
    strategy: str
    origin: Origin = Origin()
    why: Why | None = None
    move: str | None = None
    reason: Reason | None = None
    detail: str = ""
    left_s: float = 0.0  # of a notice: how long the owner may object

    def to_json(self, lines: tuple[str, ...]) -> dict[str, Any]:
        """For `notify.owner`; `lines`: the same in words."""
        return {
            "version": 1,
            "kind": self.kind.value,
            "t": self.t,
            "uid": self.uid,
            "user": self.user,
            "pid": self.pid,
            "name": self.name,
            "source": self.source,
            "target": self.target,
            "strategy": self.strategy,
            "rule": self.why.rule if self.why else None,
            "query": self.why.query if self.why else None,
            "value": self.why.value if self.why else None,
            "threshold": self.why.threshold if self.why else None,
            "move": self.move,
            "reason": self.reason.value if self.reason else None,
            "detail": self.detail,
            "left_s": self.left_s,
            "lines": list(lines),
        }
