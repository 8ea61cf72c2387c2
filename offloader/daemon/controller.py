"""One tick: look, decide, act, and remember what was seen for whoever asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from offloader.daemon.actuators import Actuator, Rehearse
from offloader.daemon.decisions import DecisionLog
from offloader.daemon.incidents import IncidentLog
from offloader.daemon.keeps import Keeps
from offloader.daemon.setup import Setup
from offloader.daemon.snapshot import FROZEN_LOAD, Measured, Observer
from offloader.daemon.toggles import IN_FORCE, STATE, Switches, thresholds_in_force
from offloader.engine.approval import answered, under_way
from offloader.engine.evaluate import relief_for, threshold_for
from offloader.engine.guard import effective_mode
from offloader.engine.history import moved, started
from offloader.engine.plan import plan
from offloader.engine.schema import EngineState, Proposal, RulePhase
from offloader.errors import JournalError, NotFound, Refused
from offloader.jobs.events import EventKind
from offloader.jobs.store import Store
from offloader.model import Candidate, Capacity, Decision, DecisionKind, Mode, Move, Reason, Snapshot, StrategyName
from offloader.moves.plan import MovePlan
from offloader.ports import Clock

__all__ = ["Begun", "Controller", "Parts", "View"]

log = logging.getLogger(__name__)

Begun = Callable[[Move, MovePlan, Decision | None, Snapshot], None]
"""A move that begins, what was asked, the decision where it was a rule's, and what was seen then."""

_FIRED = (RulePhase.FIRING, RulePhase.RELIEVING)
_ACTING_SHARE, _LOOKING_SHARE = 0.3, 0.05
_OLDEST_S = 30.0


@dataclass(frozen=True, slots=True)
class View:
    """What the last tick saw and decided: everything that people are shown comes from here."""

    setup: Setup
    snapshot: Snapshot
    measured: Measured
    state: EngineState
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a controller works with, handed in by assembly. `acting` moves, `recording` only writes down.

    `rehearse` goes as far as a move can without touching anything.
    `records_only`: why nothing is ever given to `acting` (then it is a recorder too).
    """

    store: Store
    clock: Clock
    observer: Observer
    switches: Switches
    keeps: Keeps
    decisions: DecisionLog
    incidents: IncidentLog
    acting: Actuator
    recording: Actuator
    strategies: Callable[[], tuple[StrategyName, ...]]
    rehearse: Rehearse
    backend: str = "ray"
    records_only: str | None = None


class Controller:
    """Holds the engine's state between ticks. Ticks and reloads never overlap."""

    def __init__(self, setup: Setup, parts: Parts) -> None:
        self.setup = setup
        self.parts = parts
        self.view: View | None = None
        self.journal_error: str | None = None
        self._listeners: list[Callable[[View], None]] = []
        self._begun: list[Begun] = []
        self._turn = asyncio.Lock()
        self._killed = False
        self._candidates_read: tuple[Candidate, ...] = ()
        self._read_again = self._read_t = 0.0
        stored = parts.store.setting(STATE)
        previous = EngineState.from_json(stored) if stored is not None else None
        self._state = started(parts.clock.time(), setup.policy, previous)

    def on_tick(self, listener: Callable[[View], None]) -> None:
        """Called with every new view."""
        self._listeners.append(listener)

    def on_begun(self, listener: Begun) -> None:
        """Called with every move that begins."""
        self._begun.append(listener)

    def begun(self, move: Move, asked: MovePlan, decision: Decision | None, snapshot: Snapshot) -> None:
        """A move was journalled and runs: keep what must be known of it later."""
        _remember_load(self.parts.store, move, asked)
        for listener in self._begun:
            listener(move, asked, decision, snapshot)

    async def tick(self) -> None:
        """Look, decide, act. Raises whatever a fault of our own raises; the loop bears it."""
        async with self._turn:
            await self._obey_kill_switch()
            view = await self._decide(self.setup)
            self.view = view
            for listener in self._listeners:
                listener(view)
            await self._act(view)

    async def replace(self, setup: Setup) -> None:
        """Run with another configuration from the next tick on; every rule waits the initial cooldown first."""
        async with self._turn:
            self.setup = setup
            self.look_again()
            self._state = started(self.parts.clock.time(), setup.policy, self._state)

    def look_again(self) -> None:
        """What is known of processes is out of date: somebody said something about one."""
        self._read_again = 0.0

    def finished(self, move: Move) -> None:
        """A move reached its end: cooldowns start, failures count."""
        self._state = moved(self._state, move, self.parts.clock.time())
        self._keep(STATE, self._state.to_json())

    def proposals(self) -> tuple[Proposal, ...]:
        """Planned moves that wait for somebody's word, or were agreed to and are not possible yet.

        Not those that have begun since the last tick: the next one ends them.
        """
        waiting = [one for one in self._state.proposals if one.open]
        return tuple(one for one in waiting if not self._under_way(one))

    def proposal(self, proposal_id: str) -> Proposal:
        """The open one of that id. Raises NotFound."""
        found = next((one for one in self._state.proposals if one.id == proposal_id), None)
        if found is None or not found.open:
            ended = f"it ended: {found.outcome}" if found is not None else "it was withdrawn or replaced, or never made"
            raise NotFound(
                f"{proposal_id:.60} does not wait for an answer ({ended}): `grid-offloader approve` lists them"
            )
        return found

    async def answer(self, proposal_id: str, *, by_uid: int, agreed: bool) -> Proposal:
        """Somebody says yes or no; the next tick acts on it. Raises NotFound, also for a no that comes too late."""
        async with self._turn:
            held = self.proposal(proposal_id)
            if not agreed and self._under_way(held):
                raise NotFound(f"{proposal_id:.60} was agreed to and its move is under way: `grid-offloader cancel`")
            if held.approved and agreed:
                return held
            now, policy = self.parts.clock.time(), self.setup.policy
            self._state = answered(self._state, held, policy, by_uid=by_uid, agreed=agreed, now=now)
            self._keep(STATE, self._state.to_json())
            return next(one for one in self._state.proposals if one.id == proposal_id)

    def _under_way(self, proposal: Proposal) -> bool:
        return under_way(proposal, self.parts.store.moves(since=proposal.made_t))

    async def _obey_kill_switch(self) -> None:
        killed = self.parts.switches.read().kill_switch
        if killed and not self._killed:
            path = self.parts.switches.kill_switch_path
            await self.parts.acting.stop_all(f"the kill-switch {path} is there")
        if killed is not self._killed:
            self._killed = killed
            words = "the kill-switch is on: nothing moves" if killed else "the kill-switch is off"
            self.parts.decisions.told(EventKind.TOGGLE, "kill_switch", words, self.parts.clock.time())

    async def _decide(self, setup: Setup) -> View:
        """Plan from numbers alone first; processes are read in detail only when a rule has fired."""
        observer = self.parts.observer
        measured = await observer.measure(setup, self.parts.clock.time())
        first_look, decided = self._plan(setup, self._snapshot(setup, measured))
        candidates: tuple[Candidate, ...] = ()
        if any(rule.phase in _FIRED for rule in first_look.rules.values()):
            acting = any(decision.mode.allows(Mode.APPROVE) for decision in decided)
            candidates = await self._candidates(setup, share=_ACTING_SHARE if acting else _LOOKING_SHARE)
        else:
            await observer.keep_rates()
        before = self._state  # from here on nothing is waited for: a move that ends meanwhile is not forgotten
        snapshot = self._snapshot(setup, measured, candidates)
        state, decisions = self._plan(setup, snapshot)
        self._state = state
        self._keep(STATE, state.to_json())
        self._keep_in_force(setup, snapshot)
        self.parts.decisions.phases(before, state, decisions, snapshot.now)
        self.parts.decisions.decided(decisions, snapshot.now)
        self.parts.decisions.proposed(before, state, snapshot.now)
        return View(setup, snapshot, measured, state, decisions)

    async def _candidates(self, setup: Setup, *, share: float) -> tuple[Candidate, ...]:
        """The head's jobs. Reading every process costs the head what it lacks: at most this share of one core.

        A reading is used again until then, every age as it is now; whoever acts on it checks each process's identity
        once more.
        """
        clock, observer = self.parts.clock, self.parts.observer
        if clock.boottime() >= self._read_again:
            began = clock.boottime()
            self._candidates_read = await observer.candidates(setup, observer.moves(clock.time()))
            took_s = clock.boottime() - began
            self._read_again = began + min(took_s / share, _OLDEST_S)
            self._read_t = began
        since_s = clock.boottime() - self._read_t
        return tuple(_older(candidate, since_s) for candidate in self._candidates_read)

    def _snapshot(self, setup: Setup, measured: Measured, candidates: tuple[Candidate, ...] = ()) -> Snapshot:
        toggles, now = self.parts.switches.read(), self.parts.clock.time()
        return self.parts.observer.snapshot(setup, measured, toggles, now, candidates=candidates)

    def _plan(self, setup: Setup, snapshot: Snapshot) -> tuple[EngineState, tuple[Decision, ...]]:
        return plan(setup.rules, self._state, snapshot, setup.policy, available=self.parts.strategies())

    async def _act(self, view: View) -> None:
        for decision in view.decisions:
            if decision.kind is DecisionKind.REFUSED:
                continue
            asked = self._move_plan(decision, view.snapshot)
            if asked is None:
                continue
            toggles = self.parts.switches.read()  # somebody may have switched off since the decision
            least = Mode.AUTO if decision.approved_by is None else Mode.APPROVE
            acts = decision.kind is DecisionKind.MOVE and toggles.ceiling.allows(least) and not toggles.kill_switch
            await self._start(decision, asked, view.snapshot, self.parts.acting if acts else self.parts.recording)

    async def _start(self, decision: Decision, asked: MovePlan, snapshot: Snapshot, actuator: Actuator) -> None:
        """A start that is refused is told like any other decision; the next tick decides anew."""
        now = self.parts.clock.time()
        try:
            move = await actuator.start(asked)
        except Refused as error:
            self._told(decision, f"{decision.rule}: not started: {error}", error.reason)
            return
        except JournalError as error:
            self.journal_error = str(error)
            self._told(decision, f"{decision.rule}: not started: {error}", Reason.JOURNAL_FAILED)
            return
        if actuator is not self.parts.recording:
            self.begun(move, asked, decision, snapshot)
            words = f"{move.id} begins: {decision.rule} moves pid {move.identity.pid} to {move.target}"
            self.parts.decisions.told(EventKind.MOVE, move.id, words, now, data={"rule": decision.rule})

    def _told(self, decision: Decision, words: str, reason: Reason) -> None:
        now = self.parts.clock.time()
        self.parts.decisions.told(EventKind.DECISION, decision.rule, words, now, reason=reason)

    def _move_plan(self, decision: Decision, snapshot: Snapshot) -> MovePlan | None:
        candidate, target, strategy = decision.candidate, decision.target, decision.strategy
        if candidate is None or target is None or strategy is None:
            return None
        rule = next(rule for rule in self.setup.rules if rule.key == decision.rule)
        return MovePlan(
            candidate=candidate,
            target=target,
            strategy=strategy,
            fallbacks=decision.fallbacks,
            rule=decision.rule,
            automatic=True,
            requested_by=self.setup.policy.own_uid,
            available=snapshot.nodes[target].offer or Capacity(),
            backend=rule.move.backend,
            approved_by=decision.approved_by,
        )

    def _keep_in_force(self, setup: Setup, snapshot: Snapshot) -> None:
        """For `auto --status` without a controller: rules with their thresholds, written only when they change."""
        limits = {rule.key: threshold_for(rule, snapshot.toggles) for rule in setup.rules}
        document = {
            "thresholds": thresholds_in_force(setup.rules, snapshot.toggles),
            "rules": {
                rule.key: {
                    "threshold": limits[rule.key],
                    "relief": relief_for(rule, limits[rule.key]),
                    "mode": effective_mode(rule, snapshot.toggles).value,
                }
                for rule in setup.rules
            },
        }
        if document != self.parts.store.setting(IN_FORCE):
            self._keep(IN_FORCE, document)

    def _keep(self, key: str, value: object) -> None:
        """A disk that is full must not end the loop; what cannot be written is shown as a problem."""
        try:
            self.parts.store.set_setting(key, value)
        except JournalError as error:
            self.journal_error = str(error)
            log.warning("not kept in the journal", extra={"key": key, "error": error})
        else:
            self.journal_error = None


def _older(candidate: Candidate, by_s: float) -> Candidate:
    """The same job so much later."""
    members = tuple(replace(member, age_s=member.age_s + by_s) for member in candidate.members)
    leader = replace(candidate.leader, age_s=candidate.leader.age_s + by_s)
    return replace(candidate, leader=leader, members=members, age_s=candidate.age_s + by_s)


def _remember_load(store: Store, move: Move, asked: MovePlan) -> None:
    """What the job used: while it is frozen, its absence must not look like relief."""
    try:
        store.set_fact(move.id, FROZEN_LOAD, asked.candidate.usage.cores)
    except JournalError as error:
        log.warning("load of a move not kept", extra={"move": move.id, "error": error})
