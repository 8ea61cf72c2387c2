"""Decisions and phases as events: a tick gives one decision per rule every time, people want to read what changed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from offloader.daemon.documents import decision_document, proposal_sentence
from offloader.daemon.toggles import LAST_DECISION
from offloader.engine.approval import proposal_changes
from offloader.engine.schema import EngineState
from offloader.errors import JournalError
from offloader.jobs.events import Event, EventKind
from offloader.jobs.store import Store
from offloader.model import Decision, DecisionKind, Reason

__all__ = ["DecisionLog", "decision_sentence"]

log = logging.getLogger(__name__)

_QUIET = frozenset({Reason.RULE_FALSE, Reason.RULE_PENDING, Reason.COOLDOWN, Reason.LOOK_BACK})
"""Reasons of a rule that simply waits: its phase says the same, and they are no decision worth remembering."""

_REPEAT_S = 60.0
"""A choice that swings between candidates without anything being done is told again after this time only."""


class DecisionLog:
    """Remembers what was told last, per rule."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.last: dict[str, Any] | None = store.setting(LAST_DECISION)
        self._told: dict[str, tuple[tuple[Any, ...], Any, float]] = {}
        if self.last is not None:  # a restart is no news
            kind, choice = (self.last["kind"], self.last["reason"]), (self.last["pid"], self.last["target"])
            self._told[self.last["rule"]] = (kind, choice, self.last["t"])

    def phases(self, before: EngineState, after: EngineState, decisions: Sequence[Decision], now: float) -> None:
        """An event for every rule whose phase changed."""
        by_rule = {decision.rule: decision for decision in decisions}
        for (rule, node), state in after.rules.items():
            earlier = before.rules.get((rule, node))
            was = earlier.phase.value if earlier else "inactive"
            if was == state.phase.value:
                continue
            decision = by_rule.get(rule)
            hurried = " (an alert stands in for `for`)" if state.hurried and not (earlier and earlier.hurried) else ""
            data = {"node": node, "from": was, "to": state.phase.value, **_value_data(decision)}
            words = f"{rule} on {node}: {was} -> {state.phase}{hurried}"
            self._add(Event(now, EventKind.RULE, rule, words, data=data))

    def decided(self, decisions: Sequence[Decision], now: float) -> None:
        """An event for every decision that differs from the one before."""
        for decision in decisions:
            if decision.reason in _QUIET:
                self._told.pop(decision.rule, None)
            elif self._is_news(decision, now):
                document = decision_document(decision, now)
                self._add(
                    Event(
                        now, EventKind.DECISION, decision.rule, decision_sentence(decision), decision.reason, document
                    )
                )
                self._remember(document)

    def proposed(self, before: EngineState, after: EngineState, now: float) -> None:
        """An event for every proposal that is new, and for those that ended without a move."""
        made, ended = proposal_changes(before, after)
        for one in made:
            self._add(
                Event(now, EventKind.PROPOSAL, one.id, f"waits for an answer: {proposal_sentence(one)}", one.reason)
            )
        for one in ended:
            if one.outcome is not Reason.ALREADY_MOVING:
                self._add(Event(now, EventKind.PROPOSAL, one.id, f"{one.id} is withdrawn: {one.outcome}", one.outcome))

    def told(self, kind: EventKind, subject: str, message: str, now: float, **more: Any) -> None:
        """Any other event."""
        self._add(Event(now, kind, subject, message, **more))

    def _is_news(self, decision: Decision, now: float) -> bool:
        pid = decision.candidate.leader.pid if decision.candidate else None
        kind, choice = (decision.kind, decision.reason), (pid, decision.target)
        known = self._told.get(decision.rule)
        same = decision.kind is not DecisionKind.MOVE and known is not None and known[0] == kind
        if same and known is not None and (known[1] == choice or now - known[2] < _REPEAT_S):
            return False
        self._told[decision.rule] = (kind, choice, now)
        return True

    def _remember(self, document: dict[str, Any]) -> None:
        self.last = document
        try:
            self._store.set_setting(LAST_DECISION, document)
        except JournalError as error:
            log.warning("decision not kept", extra={"error": error})

    def _add(self, event: Event) -> None:
        log.info(event.message, extra={"kind": event.kind, "subject": event.subject})
        try:
            self._store.add_event(event)
        except JournalError as error:
            log.warning("event not kept", extra={"error": error})


def decision_sentence(decision: Decision) -> str:
    """What everybody may read about it: no argv, nothing that was seen of a process."""
    leader = decision.candidate.leader if decision.candidate else None
    what = f" {leader.name} (pid {leader.pid}, {leader.user})" if leader else ""
    where = f" to {decision.target}" if decision.target else ""
    verb = {DecisionKind.MOVE: "moving", DecisionKind.WOULD_MOVE: "would move", DecisionKind.REFUSED: "nothing moves"}
    value = f"{decision.value:.0%} of {decision.threshold:.0%}" if decision.value is not None else "value unknown"
    why = f", {decision.reason}" if decision.reason else ""
    return f"{verb[decision.kind]}{what}{where}: {decision.rule} on {decision.node}, {value}{why}"


def _value_data(decision: Decision | None) -> Mapping[str, Any]:
    if decision is None:
        return {}
    return {
        "value": decision.value,
        "age_s": decision.age_s,
        "threshold": decision.threshold,
        "relief": decision.relief,
        "reason": decision.reason.value if decision.reason else None,
    }
