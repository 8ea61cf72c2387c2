"""Alerts that rules name: what Alertmanager last said of them, and what follows (docs/adr/0022).

An alert moves nothing. While it fires it stands in for the rest of `for` of the rules that name it, and when it is new
those rules are evaluated at once, by their own PromQL. When it is resolved, moves that it hurried are taken back as far
as nothing was done to their originals: freezing one looks like relief, so what is frozen already goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from offloader.daemon.api.alert_body import Alert, Notification
from offloader.daemon.controller import Controller
from offloader.daemon.setup import Setup
from offloader.daemon.ticker import Ticker
from offloader.daemon.toggles import Settings
from offloader.engine.schema import RulePhase, RuleState
from offloader.errors import JournalError
from offloader.jobs.events import EventKind
from offloader.model import Decision, Move, Reason, Snapshot
from offloader.moves.plan import MovePlan

__all__ = ["OUTCOMES", "AlertLog", "Alerts"]

log = logging.getLogger(__name__)

SETTING = "alerts"
HURRIED = "hurried"
"""Fact of a move: its rule had not served its `for` when it chose the job."""

OUTCOMES = ("new", "resolved", "duplicate", "unused")
_KEPT = 1000
_KEPT_S = 7 * 86400.0
"""For so long a delivery that comes again is known; one that comes later could at worst hurry a rule once more."""
_MARGIN_S = 60.0
"""A rule that goes on being over its threshold has served `for` by then, whatever ticks were missed meanwhile."""
_FIRED = (RulePhase.FIRING, RulePhase.RELIEVING)


@dataclass(frozen=True, slots=True)
class _Known:
    """An alert that was delivered. Times are Unix seconds; `resolved_t` None: it fires."""

    name: str
    fingerprint: str
    starts_t: float
    received_t: float
    resolved_t: float | None = None

    @property
    def key(self) -> tuple[str, float]:
        """Names this time that this alert fires: every further delivery has the same."""
        return self.fingerprint, self.starts_t


class AlertLog:
    """What is known of alerts, in the journal: so that a restart forgets no delivery."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        stored = settings.setting(SETTING) or ()
        self._known = {one.key: one for one in (_Known(**entry) for entry in stored)}

    def hurried(self, setup: Setup, now: float) -> frozenset[str]:
        """Keys of the rules that an alert hurries now.

        Little longer than `for` itself at most: by then a rule has served it, or its alert is old news.
        """
        return frozenset(
            rule.key
            for rule in setup.rules
            if any(
                one.resolved_t is None and one.name in rule.on_alert and now < one.received_t + rule.for_s + _MARGIN_S
                for one in self._known.values()
            )
        )

    def take(self, alerts: Iterable[Alert], now: float) -> list[tuple[Alert, str]]:
        """Remember a delivery; each alert with what it was: new, resolved or duplicate.

        Raises:
            JournalError: nothing of it is remembered; whoever sent it is to send it again.
        """
        known, told = dict(self._known), []
        for alert in alerts:
            before = known.get((alert.fingerprint, alert.starts_t))
            after = _after(before, alert, now)
            outcome = "duplicate" if after is before else ("new" if alert.firing else "resolved")
            told.append((alert, outcome))
            known[after.key] = after
        if known != self._known:
            kept = sorted(known.values(), key=lambda one: one.received_t)[-_KEPT:]
            kept = [one for one in kept if one.received_t > now - _KEPT_S]
            self._settings.set_setting(SETTING, [asdict(one) for one in kept])
            self._known = {one.key: one for one in kept}
        return told


def _after(before: _Known | None, alert: Alert, now: float) -> _Known:
    """What is known after this delivery; the same object where it says nothing new.

    Deliveries may come in any order: once resolved, this time that the alert fired is over for good.
    """
    if before is None:
        resolved_t = None if alert.firing else now
        return _Known(alert.name, alert.fingerprint, alert.starts_t, now, resolved_t)
    if alert.firing or before.resolved_t is not None:
        return before
    return replace(before, resolved_t=now)


class Alerts:
    """Takes deliveries, nudges the ticker, takes moves back."""

    def __init__(
        self, controller: Controller, ticker: Ticker, known: AlertLog, counted: Callable[[str], None] = lambda _: None
    ) -> None:
        """Args: counted: is told the outcome of every alert, one of OUTCOMES, and why a delivery was refused."""
        self._controller = controller
        self._ticker = ticker
        self._known = known
        self._counted = counted
        self._taking_back: set[asyncio.Task[None]] = set()

    def receive(self, notification: Notification) -> dict[str, int]:
        """One delivery; returns at once with how many of its alerts were what. Needs a running loop.

        Raises:
            JournalError: it cannot be remembered, so nothing follows from it.
        """
        now, head = self._controller.parts.clock.time(), self._controller.setup.policy.head
        counts = Counter(dict.fromkeys(OUTCOMES, 0))
        wanted = {name for rule in self._controller.setup.rules for name in rule.on_alert}
        ours = [one for one in notification.alerts if one.name in wanted and one.node in (None, head)]
        told = self._known.take(ours, now)
        counts.update(outcome for _, outcome in told)
        counts["unused"] = len(notification.alerts) - len(ours)
        for outcome, count in counts.items():
            for _ in range(count):
                self._counted(outcome)
        if notification.truncated:
            log.warning("alerts were left out of a delivery", extra={"left_out": notification.truncated})
        self._follow(told, now)
        return {**counts, "truncated": notification.truncated}

    def refused(self, why: str) -> None:
        """A delivery was not taken, for a wrong token or for what was in it."""
        log.warning("delivery of alerts refused", extra={"why": why})
        self._counted(why)

    def begun(self, move: Move, _asked: MovePlan, decision: Decision | None, _snapshot: Snapshot) -> None:
        """A move begins: remember whether an alert hurried it."""
        if decision is None or not self._hurried(decision.rule):
            return
        try:
            self._controller.parts.store.set_fact(move.id, HURRIED, True)
        except JournalError as error:
            log.warning("what hurried a move is not kept", extra={"move": move.id, "error": error})

    async def close(self) -> None:
        """Moves that are still to be taken back go on, or are rolled back by the next controller."""
        for task in self._taking_back:
            task.cancel()
        await asyncio.gather(*self._taking_back, return_exceptions=True)

    def _follow(self, told: Iterable[tuple[Alert, str]], now: float) -> None:
        setup = self._controller.setup
        news = [
            (rule.key, alert.name, outcome)
            for alert, outcome in told
            if outcome != "duplicate"
            for rule in setup.rules
            if alert.name in rule.on_alert
        ]
        for rule, name, outcome in news:
            words = f"alert {name} {'fires' if outcome == 'new' else 'is resolved'}: {rule} is evaluated now"
            self._controller.parts.decisions.told(EventKind.RULE, rule, words, now)
        if news:
            self._ticker.nudge()
        hurried = self._known.hurried(setup, now)
        over = {rule: name for rule, name, outcome in news if outcome == "resolved" and rule not in hurried}
        if over:
            task = asyncio.get_running_loop().create_task(self._take_back(over), name="take back what was hurried")
            self._taking_back.add(task)
            task.add_done_callback(self._taking_back.discard)

    async def _take_back(self, over: Mapping[str, str]) -> None:
        """Moves of these rules (key → alert) that were hurried, unless their rule fires in its own right by now.

        What somebody agreed to stays his.
        """
        await self._ticker.now()
        parts = self._controller.parts
        for move in parts.store.moves(active=True):
            name = over.get(move.rule or "")
            if name is None or not move.automatic or move.approved_by is not None:
                continue
            if not parts.store.fact(move.id, HURRIED):
                continue
            if self._fires_in_its_own_right(move.rule or ""):
                continue
            detail = f"alert {name}, which hurried it, is resolved"
            if await parts.acting.withdraw(move.id, Reason.CANCELLED, detail, untouched=True):
                words = f"{move.id} is taken back: {detail}"
                parts.decisions.told(EventKind.MOVE, move.id, words, parts.clock.time(), reason=Reason.CANCELLED)

    def _hurried(self, rule: str) -> bool:
        state = self._state(rule)
        return state is not None and state.hurried

    def _fires_in_its_own_right(self, rule: str) -> bool:
        state = self._state(rule)
        return state is not None and state.beneath in _FIRED and not state.hurried

    def _state(self, rule: str) -> RuleState | None:
        view = self._controller.view
        return view.state.rules.get((rule, view.setup.policy.head)) if view is not None else None
