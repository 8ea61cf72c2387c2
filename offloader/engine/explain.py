"""Why something, or nothing, moves: the chain data → rule → ceiling → budget → candidates → targets.

Everything is read off one tick's decisions, so that it never tells another story than what was done. The first broken
link is what to mend; links after it were not reached and say so (a ceiling that would break is told even then). Whoever
runs the engine may put a link for himself in front. All results turn into JSON by `to_json`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from offloader.engine.remedies import obstacle
from offloader.model import Decision, DecisionKind, Mode, Obstacle, Reason, Snapshot

__all__ = ["Chain", "Link", "LinkName", "Status", "command_in", "explain", "furthest"]


class LinkName(StrEnum):
    """What must hold for a move, in the order in which it is asked."""

    CONTROLLER = "controller"
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
    """One link: what was seen, and for a broken one its reason and what mends it, in a sentence and as a command."""

    name: LinkName
    status: Status
    seen: str = ""
    reason: Reason | None = None
    remedy: str = ""
    command: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {
            "name": self.name.value,
            "status": self.status.value,
            "seen": self.seen,
            "reason": self.reason.value if self.reason else None,
            "remedy": self.remedy,
            "command": self.command,
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
_CEILING = frozenset({Reason.CEILING, Reason.KILL_SWITCH, Reason.APPROVAL})
_TARGETS = frozenset({Reason.NO_TARGET})
_CANDIDATES = frozenset({Reason.NO_CANDIDATE, Reason.NOT_RESTART_SAFE, Reason.LOSES_TOO_MUCH, Reason.DOES_NOT_PAY})
_OWNERS = frozenset({Reason.SUPERVISED, Reason.CRON, Reason.SHELL_WAITING, Reason.LISTENER})


_LINKS = tuple(name for name in LinkName if name is not LinkName.CONTROLLER)


def explain(decisions: Sequence[Decision], snapshot: Snapshot, *, held_back: Obstacle | None = None) -> Chain:
    """The chain of the rule that came furthest in this tick.

    The ceiling is asked before the budget: with a lower one, a rule that could not act anyway says so first.

    Args:
        decisions: Those of the tick.
        snapshot: The one that they were made from, with the toggles as they are now.
        held_back: Why decisions are not acted on although the ceiling lets them (the controller only records).
    """
    decision = furthest(decisions)
    if decision is None:
        seen = "no offload rules are loaded"
        remedy = (
            "name rule files in the configuration (`auto_offload.rule_files`), or leave that out for the shipped ones"
        )
        link = Link(LinkName.RULE, Status.BROKEN, seen, None, remedy)
        return Chain(None, (Link(LinkName.DATA, Status.OK, "nothing is asked for"), link, *_after(LinkName.RULE, None)))
    ceiling = _ceiling(decision, snapshot, held_back)
    name = _broken_link(decision, ceiling)
    links: list[Link] = []
    for one in _LINKS:
        if one is name:
            links.append(_broken(one, decision, ceiling))
            break
        links.append(Link(one, Status.OK, _fine(one, decision)))
    return Chain(decision.rule, (*links, *(_after(name, ceiling) if name else ())))


def furthest(decisions: Sequence[Decision]) -> Decision | None:
    """The decision that came furthest along the chain; the first of equals. None: there are none."""
    return max(decisions, key=_progress, default=None)


def command_in(remedy: str) -> str | None:
    """The command that a remedy tells to type: its first words in backquotes that begin with our name, if complete."""
    found = re.search(r"`(grid-offloader [^`]*)`", remedy)
    return found[1] if found and "PID" not in found[1] else None


def _progress(decision: Decision) -> int:
    if decision.kind is DecisionKind.MOVE:
        return len(_LINKS)
    return _LINKS.index(_own_link(decision))


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


def _broken_link(decision: Decision, ceiling: Obstacle | None) -> LinkName | None:
    """The first link that breaks: a low ceiling does before budgets, candidates and targets are asked."""
    moves = decision.kind is DecisionKind.MOVE
    own = None if moves else _own_link(decision)
    beyond = own is None or _LINKS.index(own) > _LINKS.index(LinkName.CEILING)
    return LinkName.CEILING if beyond and ceiling is not None else own


def _ceiling(decision: Decision, snapshot: Snapshot, held_back: Obstacle | None) -> Obstacle | None:
    """What keeps decisions from being acted on, whatever they are."""
    ceiling = snapshot.toggles.ceiling
    if snapshot.toggles.kill_switch:
        return obstacle(Reason.KILL_SWITCH, "the file `disabled` stops every move")
    if not ceiling.allows(Mode.APPROVE):
        return obstacle(Reason.CEILING, f"the ceiling is {ceiling}: {_MEANS[ceiling]}")
    if not decision.mode.allows(Mode.APPROVE):
        seen = f"the rule's own mode is {decision.mode}: {_MEANS[decision.mode]}"
        return Obstacle(Reason.CEILING, seen, "change `mode` of the rule in its file, then reload the controller")
    if held_back is None and decision.reason is Reason.APPROVAL:
        return obstacle(Reason.APPROVAL, decision.detail)
    return held_back


_MEANS = {
    Mode.OBSERVE: "rules only look",
    Mode.ADVISE: "rules say what they would move, and move nothing",
    Mode.APPROVE: "rules ask before they move anything",
    Mode.AUTO: "rules move what they choose",
}


def _broken(name: LinkName, decision: Decision, ceiling: Obstacle | None) -> Link:
    found = Obstacle(decision.reason, decision.detail) if decision.reason is not None else None
    if name is LinkName.CEILING and ceiling is not None:
        found = ceiling
    if found is None:
        return Link(name, Status.BROKEN, decision.detail)
    remedy = found.remedy or obstacle(found.reason, "").remedy
    if decision.candidate is not None:
        remedy = remedy.replace("PID", str(decision.candidate.leader.pid))
    return Link(name, Status.BROKEN, found.seen, found.reason, remedy, command_in(remedy))


def _fine(name: LinkName, decision: Decision) -> str:
    """What a link that holds has to say."""
    leader = decision.candidate.leader if decision.candidate else None
    words = {
        LinkName.DATA: _reads(decision),
        LinkName.RULE: _presses(decision),
        LinkName.CEILING: f"mode {decision.mode}: {_MEANS[decision.mode]}",
        LinkName.BUDGET: "within all budgets, no cooldown",
        LinkName.CANDIDATES: f"{leader.name} (pid {leader.pid}, {leader.user})" if leader else "there are some",
        LinkName.TARGETS: decision.target or "",
    }
    return words[name]


def _reads(decision: Decision) -> str:
    if decision.value is None:
        return f"{decision.rule} has its answer"
    age = f", measured {decision.age_s:.0f} s ago" if decision.age_s is not None else ""
    return f"{decision.rule} reads {decision.value:.0%}{age}"


def _presses(decision: Decision) -> str:
    limits = f"{decision.threshold:.0%}, relief is at {decision.relief:.0%}"
    if decision.value is None or decision.value >= decision.threshold:
        return f"over the threshold of {limits}"
    return f"fired, and not relieved yet: the threshold is {limits}"


def _after(broken: LinkName, ceiling: Obstacle | None) -> tuple[Link, ...]:
    """The links that were not asked; what is known of the ceiling is told even so: it would break next."""
    links = [Link(name, Status.NOT_REACHED) for name in _LINKS[_LINKS.index(broken) + 1 :]]
    if ceiling is None:
        return tuple(links)
    known = Link(
        LinkName.CEILING, Status.NOT_REACHED, f"would not pass: {ceiling.seen}", ceiling.reason, ceiling.remedy
    )
    return tuple(known if link.name is LinkName.CEILING else link for link in links)
