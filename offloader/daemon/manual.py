"""A person's own move: checked by the same pure rules as an automatic one, carried out by the same mover."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import MoveRequest
from offloader.daemon.controller import Controller
from offloader.daemon.documents import move_document
from offloader.daemon.dry_run import passed_over, plan_document, prospects
from offloader.daemon.setup import Setup
from offloader.engine.connections import letting_go
from offloader.engine.evaluate import stale_after_s
from offloader.engine.guard import permit_manual
from offloader.engine.place import place, place_on
from offloader.engine.remedies import REMEDIES
from offloader.engine.schema import Target
from offloader.engine.select import fallbacks, ways
from offloader.errors import NotPermitted, Refused
from offloader.jobs.events import EventKind
from offloader.model import Candidate, Capacity, Corrections, Obstacle, Reason, Snapshot, StrategyName
from offloader.moves.plan import MovePlan
from offloader.moves.preflight import Findings

__all__ = ["ManualMoves"]

Document = dict[str, Any]


class ManualMoves:
    """Plans and starts what people ask for."""

    def __init__(self, controller: Controller, permissions: Permissions) -> None:
        self._controller = controller
        self._permissions = permissions

    async def move(self, caller: Caller, request: MoveRequest) -> Document:
        """Start the move, or with `dry_run` show its plan.

        Raises:
            NotPermitted: the process is somebody else's.
            Refused: a safety rule says no; every obstacle is listed.
            JournalError: it could not be written down.
        """
        parts, setup = self._controller.parts, self._controller.setup
        candidate = await self._candidate(caller, setup, request.pid)
        candidate = letting_go(candidate) if request.close_connections else candidate
        measured = await parts.observer.measure(setup, parts.clock.time())
        snapshot = parts.observer.snapshot(setup, measured, parts.switches.read(), parts.clock.time())
        self._check(caller, setup, snapshot, candidate)
        strategy, others = _strategies(candidate, parts.strategies(), request.strategy, snapshot.corrections)
        asked = MovePlan(
            candidate=candidate,
            target="",
            strategy=strategy,
            fallbacks=others,
            rule=None,
            automatic=False,
            requested_by=caller.uid,
            available=Capacity(),
            backend=parts.backend,
            env=request.env_vars,
            capture_state=request.capture_state,
            stage=request.stage,
        )
        target, obstacles = _target(setup, snapshot, candidate, request.target)
        if target in snapshot.nodes:
            asked = replace(asked, target=target, available=snapshot.nodes[target].offer or Capacity())
        if request.dry_run:
            return await self._rehearsed(asked, obstacles, setup, snapshot, chosen=request.target is not None)
        where = f"{request.target} cannot" if request.target else "no worker can"
        _refuse(obstacles, f"{where} take process {candidate.leader.pid}")
        if parts.records_only is not None:
            raise Refused(Reason.DISABLED, f"this controller moves nothing, it only records: {parts.records_only}")
        asked, notes = await self._settled(asked)
        move = await parts.acting.start(asked)
        self._controller.begun(move, asked, None, snapshot)
        words = f"{move.id} begins: {caller.name} moves pid {move.identity.pid} to {move.target}"
        parts.decisions.told(EventKind.MOVE, move.id, words, parts.clock.time(), data={"by_uid": caller.uid})
        document = move_document(move, parts.store.job(move.job), steps=parts.store.timeline(move.id))
        more = {"loses_s": round(asked.loses_s, 1), "passes_over": passed_over(candidate), "notes": list(notes)}
        return {**document, "name": document["name"] or candidate.leader.name, **more}

    async def _settled(self, asked: MovePlan) -> tuple[MovePlan, tuple[str, ...]]:
        """By which strategy: known before it begins, so that its owner is told what it loses. Raises Refused."""
        if not asked.fallbacks:
            return asked, ()
        asked, findings = await self._controller.parts.rehearse(asked)
        _refuse(findings.obstacles, f"process {asked.candidate.leader.pid} is not moved")
        return asked, findings.notes

    async def _rehearsed(
        self,
        asked: MovePlan,
        obstacles: tuple[Obstacle, ...],
        setup: Setup,
        snapshot: Snapshot,
        *,
        chosen: bool,
    ) -> Document:
        """As far as the move goes without touching anything. A target that cannot be one is not asked."""
        findings = Findings({})
        if asked.target and asked.target != setup.policy.head:
            asked, findings = await self._controller.parts.rehearse(asked)
        limit = stale_after_s(setup.policy, snapshot.scrape_interval_s)
        return plan_document(
            asked,
            findings,
            (*obstacles, *findings.obstacles),
            prospects(asked.candidate, snapshot, setup.policy, limit),
            chosen=chosen,
        )

    async def _candidate(self, caller: Caller, setup: Setup, pid: int) -> Candidate:
        found = await self._controller.parts.observer.candidate(setup, pid)
        if isinstance(found, Obstacle):
            raise Refused(found.reason, found.seen, (found,))
        owner = found.leader.identity.uid
        if not self._permissions.signals(caller, owner):
            seen = f"process {pid} belongs to {found.leader.user}: you may move what you could signal yourself"
            remedy = REMEDIES[Reason.NOT_YOURS]
            raise NotPermitted(Reason.NOT_YOURS, seen, (Obstacle(Reason.NOT_YOURS, seen, remedy),))
        return found

    def _check(self, caller: Caller, setup: Setup, snapshot: Snapshot, candidate: Candidate) -> None:
        obstacles = permit_manual(
            candidate,
            snapshot.moves,
            snapshot,
            setup.policy,
            requester_uid=caller.uid,
            now=snapshot.now,
            available=self._controller.parts.strategies(),
        )
        _refuse(obstacles, f"process {candidate.leader.pid} is not moved")


def _target(
    setup: Setup, snapshot: Snapshot, candidate: Candidate, wanted: str | None
) -> tuple[str, tuple[Obstacle, ...]]:
    """Where to ("": nowhere), and what speaks against it."""
    limit = stale_after_s(setup.policy, snapshot.scrape_interval_s)
    if wanted is None:
        found = place(candidate, snapshot.nodes, snapshot.reserved, setup.policy, stale_after_s=limit)
        return (found.node, ()) if isinstance(found, Target) else ("", (found,))
    return wanted, place_on(candidate, wanted, snapshot.nodes, snapshot.reserved, setup.policy, stale_after_s=limit)


def _strategies(
    candidate: Candidate,
    available: tuple[StrategyName, ...],
    wanted: StrategyName | None,
    corrections: Corrections,
) -> tuple[StrategyName, tuple[StrategyName, ...]]:
    """The one asked for alone (preflight says why not); else the one that loses least, and those to try after it."""
    found = ways(candidate, available if wanted is None else (wanted,), corrections=corrections)
    open_ways = [way for way in found if way.blocked is None or way.owner_only]
    if not open_ways:
        _refuse(tuple(way.blocked for way in found if way.blocked), f"process {candidate.leader.pid} is not moved")
    first = min(open_ways, key=lambda way: way.lost_s).strategy
    return first, fallbacks(open_ways, first)


def _refuse(obstacles: tuple[Obstacle, ...], what: str) -> None:
    """Raises Refused for the first obstacle, with all of them; the own process of somebody else is NotPermitted."""
    if not obstacles:
        return
    first = obstacles[0]
    kind = NotPermitted if first.reason is Reason.NOT_YOURS else Refused
    raise kind(first.reason, f"{what}: {first.seen}", obstacles)
