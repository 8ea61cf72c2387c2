"""Why something, or nothing, moves: the chain data → rule → ceiling → budget → candidates → targets.

Everything is read off one tick's decisions, so that it never tells another story than what was done. The first broken
link is what to mend; links after it were not reached and say so. All results turn into JSON by `to_json`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from offloader.engine.remedies import REMEDIES
from offloader.model import Decision, DecisionKind, Mode, Reason, Snapshot

__all__ = ["Chain", "Link", "LinkName", "Status", "explain", "progress"]


class LinkName(StrEnum):
    """What must hold for a move, in the order in which it is asked."""

    DATA = "data"
    RULE = "rule"
    CEILING = "ceiling"
    BUDGET = "budget"
    CANDIDATES = "candidates"
    TARGETS = "targets"


class Status(StrEnum):
    """How a link stands."""

    OK = "ok"
    BROKEN = "broken"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class Link:
    """One link: what was seen, and for a broken one its reason and the sentence or command that mends it."""

    name: LinkName
    status: Status
    seen: str = ""
    reason: Reason | None = None
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {
            "name": self.name.value,
            "status": self.status.value,
            "seen": self.seen,
            "reason": self.reason.value if self.reason else None,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Chain:
    """The chain of one rule. `rule` is None when there are no rules."""

    rule: str | None
    links: tuple[Link, ...]

    @property
    def broken(self) -> Link | None:
        """The first broken link; None: something is being moved."""
        return next((link for link in self.links if link.status is Status.BROKEN), None)

    def to_json(self) -> dict[str, Any]:
        """Plain dict; `broken` repeats the link to mend."""
        return {
            "rule": self.rule,
            "moving": self.broken is None,
            "broken": self.broken.to_json() if self.broken else None,
            "links": [link.to_json() for link in self.links],
        }


_DATA = frozenset(
    {
        Reason.QUERY_FAILED,
        Reason.NO_DATA,
        Reason.NOT_A_NUMBER,
        Reason.AMBIGUOUS,
        Reason.STALE,
        Reason.DOWN,
        Reason.WARNINGS,
        Reason.RULE_UNKNOWN,
    }
)
_RULE = frozenset({Reason.RULE_FALSE, Reason.RULE_PENDING})
_CEILING = frozenset({Reason.CEILING, Reason.KILL_SWITCH, Reason.PAUSED})
_TARGETS = frozenset({Reason.NO_TARGET})
_CANDIDATES = frozenset({Reason.NO_CANDIDATE, Reason.NOT_RESTART_SAFE, Reason.LOSES_TOO_MUCH, Reason.DOES_NOT_PAY})
_OWNERS = frozenset({Reason.SUPERVISED, Reason.CRON, Reason.SHELL_WAITING, Reason.LISTENER})


def explain(decisions: Sequence[Decision], snapshot: Snapshot) -> Chain:
    """The chain of the rule that came furthest in this tick.

    The ceiling is asked before the budget: with a lower one, a rule that could not act anyway says so first.
    """
    if not decisions:
        seen = "no offload rules are loaded"
        remedy = "name rule files in the configuration: `grid-offloader rules check`"
        link = Link(LinkName.RULE, Status.BROKEN, seen, None, remedy)
        return Chain(None, (Link(LinkName.DATA, Status.OK), link, *_not_reached(LinkName.RULE)))
    decision = max(decisions, key=progress)
    name = _broken_link(decision, snapshot)
    links: list[Link] = []
    for one in LinkName:
        if one is name:
            links.append(_broken(one, decision, snapshot))
            break
        links.append(Link(one, Status.OK, _fine(one, decision)))
    return Chain(decision.rule, (*links, *(_not_reached(name) if name else ())))


def progress(decision: Decision) -> int:
    """How far along the chain a decision came."""
    if decision.kind is DecisionKind.MOVE:
        return len(LinkName)
    order = list(LinkName)
    return order.index(_own_link(decision))


def _own_link(decision: Decision) -> LinkName:
    """The link that a refusal's reason stands for."""
    reason = decision.reason
    if reason in _DATA:
        return LinkName.DATA
    if reason in _RULE:
        return LinkName.RULE
    if reason in _TARGETS:
        return LinkName.TARGETS
    if reason in _CEILING:
        return LinkName.CEILING
    return LinkName.CANDIDATES if reason in _CANDIDATES | _OWNERS else LinkName.BUDGET


def _broken_link(decision: Decision, snapshot: Snapshot) -> LinkName | None:
    """The first link that breaks: a low ceiling does before budgets, candidates and targets are asked."""
    if decision.kind is DecisionKind.MOVE:
        return None
    own = _own_link(decision)
    order = list(LinkName)
    if order.index(own) > order.index(LinkName.CEILING) and _ceiling(decision, snapshot) is not None:
        return LinkName.CEILING
    return own


def _ceiling(decision: Decision, snapshot: Snapshot) -> Reason | None:
    if snapshot.toggles.kill_switch:
        return Reason.KILL_SWITCH
    return None if decision.mode is Mode.AUTO else Reason.CEILING


def _broken(name: LinkName, decision: Decision, snapshot: Snapshot) -> Link:
    reason, seen = decision.reason, decision.detail
    if name is LinkName.CEILING:
        reason = _ceiling(decision, snapshot) or reason
        ceiling = f"the mode is {decision.mode}, the ceiling {snapshot.toggles.ceiling}"
        seen = "the file `disabled` stops every move" if reason is Reason.KILL_SWITCH else ceiling
    remedy = REMEDIES.get(reason, "") if reason is not None else ""
    if decision.candidate is not None:
        remedy = remedy.replace("PID", str(decision.candidate.leader.pid))
    return Link(name, Status.BROKEN, seen, reason, remedy)


def _fine(name: LinkName, decision: Decision) -> str:
    value = "" if decision.value is None else f"{decision.value:.0%}"
    match name:
        case LinkName.DATA:
            return f"{value}, {decision.age_s:.0f} s old" if decision.age_s is not None else value
        case LinkName.RULE:
            return f"{decision.rule}: {value}, threshold {decision.threshold:.0%}, relief {decision.relief:.0%}"
        case LinkName.CEILING:
            return f"mode {decision.mode}"
        case LinkName.CANDIDATES:
            return f"process {decision.candidate.leader.pid}" if decision.candidate else "there are some"
        case LinkName.TARGETS:
            return decision.target or ""
        case LinkName.BUDGET:
            return "within budgets, not cooling"


def _not_reached(after: LinkName) -> tuple[Link, ...]:
    order = list(LinkName)
    return tuple(Link(name, Status.NOT_REACHED) for name in order[order.index(after) + 1 :])
