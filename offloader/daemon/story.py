"""Why something, or nothing, moves now: the one story that `status`, `why`, `watch` and the status page tell.

It is read off the view of the last tick, with the switches as they are at this moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from offloader.daemon.controller import View
from offloader.daemon.mending import Place, mended
from offloader.daemon.ticker import Beat
from offloader.engine.explain import Chain, Link, LinkName, Status, explain
from offloader.engine.meanings import MEANINGS
from offloader.model import Decision, DecisionKind, Obstacle, Reason, Toggles

__all__ = ["Running", "Story", "not_running", "story"]

Document = dict[str, Any]

_LATE_INTERVALS, _LATE_S = 5.0, 30.0
"""A last check that ended longer ago than both is no news of the present."""


@dataclass(frozen=True, slots=True)
class Running:
    """How the controller itself does. `cannot_write`: what is wrong with the journal."""

    beat: Beat
    interval_s: float
    cannot_write: str | None = None

    def link(self, now: float, *, looked: bool) -> Link:
        """The chain's first link: whether this controller decides at all. `looked`: whether it ever did."""
        ended = self.beat.finished_t
        if self.cannot_write is not None:
            seen = f"{self.cannot_write}: no new move is accepted"
            remedy = "free some space in the state directory"
            return Link(LinkName.CONTROLLER, Status.BROKEN, seen, Reason.JOURNAL_FAILED, remedy, "df -h")
        if not looked:
            seen = (
                f"the first check failed: {self.beat.error}" if self.beat.error else "the first check is still to come"
            )
            return Link(LinkName.CONTROLLER, Status.BROKEN, seen, None, "wait" if not self.beat.error else _LOG)
        if self.beat.error is not None:
            seen = f"the last check failed: {self.beat.error}"
            return Link(LinkName.CONTROLLER, Status.BROKEN, seen, None, _LOG)
        if ended is not None and now - ended > max(_LATE_S, _LATE_INTERVALS * self.interval_s):
            seen = f"the last check ended {now - ended:.0f} s ago: it is stuck, or gets no processor time"
            return Link(LinkName.CONTROLLER, Status.BROKEN, seen, None, _LOG)
        checked = f", last check {max(0.0, now - ended):.0f} s ago" if ended is not None else ""
        return Link(LinkName.CONTROLLER, Status.OK, f"running{checked}")


_LOG = "look at the controller's log"


def not_running(command: str) -> Link:
    """The chain's first link where no controller runs."""
    return Link(LinkName.CONTROLLER, Status.BROKEN, "no controller is running", None, "start it", command)


@dataclass(frozen=True, slots=True)
class Story:
    """What happens next: `kind` move, would_move or nothing; `what` was chosen by `decision`."""

    kind: str
    what: str
    chain: Chain
    decision: Decision | None = None

    @property
    def text(self) -> str:
        """One line, with the code."""
        broken = self.chain.broken
        if broken is not None and broken.reason is Reason.NOTICE:
            return f"moving {self.what}: {broken.seen}"
        if self.kind != "nothing" or broken is None:
            return f"{'would move' if broken else 'moving'} {self.what}"
        return f"nothing, {broken.reason or broken.name}{f': {broken.seen}' if broken.seen else ''}"

    @property
    def sentence(self) -> str:
        """For somebody who knows none of our words."""
        broken = self.chain.broken
        if broken is None:
            return f"Moving {self.what}."
        lead = "Nothing is moved" if self.kind == "nothing" else f"Nothing is moved, though a rule chose {self.what}"
        meaning = f" {MEANINGS[broken.reason]}" if broken.reason is not None else ""
        return f"{lead}: {broken.seen or broken.reason or broken.name}.{meaning}"

    def to_json(self) -> Document:
        """As in the status document's `next`; `why` adds to it."""
        broken = self.chain.broken
        return {
            "kind": self.kind,
            "text": self.text,
            "reason": broken.reason.value if broken and broken.reason else None,
            "remedy": broken.remedy if broken else "",
            "command": broken.command if broken else None,
            "chain": self.chain.to_json(),
        }


def story(
    view: View | None, toggles: Toggles, controller: Link, place: Place, held_back: Obstacle | None, *, private: bool
) -> Story:
    """Everything in one place.

    Args:
        view: of the last tick; None: there was none yet.
        toggles: as they are now.
        controller: the link for the controller itself.
        place: where commands act.
        held_back: why decisions are not acted on although rules may.
        private: whether the reader may see what concerns other people's processes.
    """
    if view is None:
        return Story("nothing", "", Chain(None, (controller,)))
    found = explain(view.decisions, replace(view.snapshot, toggles=toggles), held_back=held_back)
    decision = next((one for one in view.decisions if one.rule == found.rule), None)
    shown: Callable[[Link], Link] = _as_it_is if private else _without_private
    links = (shown(mended(link, place, decision)) for link in found.links)
    chain = Chain(found.rule, (controller, *links))
    leader = decision.candidate.leader if decision is not None and decision.candidate is not None else None
    what = f"{leader.name} (pid {leader.pid}, {leader.user})" if leader is not None else ""
    where = f"{what} to {decision.target}, by {decision.rule}" if decision is not None else ""
    return Story(_kind(chain, decision), where if what else "", chain, decision)


def _kind(chain: Chain, decision: Decision | None) -> str:
    if chain.broken is None:
        return "move"
    stands = chain.broken.name is not LinkName.CONTROLLER
    return "would_move" if stands and decision is not None and decision.kind is not DecisionKind.REFUSED else "nothing"


_PUBLIC_LINKS = frozenset({LinkName.DATA, LinkName.RULE, LinkName.CEILING, LinkName.BUDGET})
"""What the other links saw may tell of somebody's processes."""


def _as_it_is(link: Link) -> Link:
    return link


def _without_private(link: Link) -> Link:
    """What the links about processes saw is for their owners and admins; the reason's code is for everybody."""
    if link.name in _PUBLIC_LINKS:
        return link
    return replace(link, seen="", remedy="ask an admin" if link.remedy else "", command=None)
