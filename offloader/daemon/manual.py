"""A person's own move: checked by the same pure rules as an automatic one, carried out by the same mover."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import MoveRequest
from offloader.daemon.controller import Controller
from offloader.daemon.documents import capacity_document, move_document, obstacle_document
from offloader.daemon.setup import Setup
from offloader.engine.evaluate import stale_after_s
from offloader.engine.guard import permit_manual
from offloader.engine.place import place, place_on
from offloader.engine.remedies import REMEDIES
from offloader.engine.schema import Target
from offloader.engine.select import ways
from offloader.errors import NotPermitted, Refused
from offloader.jobs.events import EventKind
from offloader.model import Candidate, Capacity, Obstacle, Reason, Snapshot, StrategyName
from offloader.moves.plan import MovePlan

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
        measured = await parts.observer.measure(setup, parts.clock.time())
        snapshot = parts.observer.snapshot(setup, measured, parts.switches.read(), parts.clock.time())
        self._check(caller, setup, snapshot, candidate)
        target = _target(setup, snapshot, candidate, request.target)
        strategy = _strategy(candidate, parts.strategies, request.strategy)
        asked = MovePlan(
            candidate=candidate,
            target=target,
            strategy=strategy,
            rule=None,
            automatic=False,
            requested_by=caller.uid,
            available=snapshot.nodes[target].offer or Capacity(),
            backend=parts.backend,
            env=request.env_vars,
            capture_state=request.capture_state,
        )
        loses_s = candidate.age_s if strategy is StrategyName.RESTART else 0.0
        if request.dry_run:
            await parts.recording.start(asked)
            return _plan_document(asked, loses_s)
        if parts.records_only is not None:
            raise Refused(Reason.DISABLED, f"this controller moves nothing, it only records: {parts.records_only}")
        move = await parts.acting.start(asked)
        self._controller.begun(move, asked, None)
        words = f"{move.id} begins: {caller.name} moves pid {move.identity.pid} to {move.target}"
        parts.decisions.told(EventKind.MOVE, move.id, words, parts.clock.time(), data={"by_uid": caller.uid})
        document = move_document(move, parts.store.job(move.job), steps=parts.store.timeline(move.id))
        more = {"loses_s": round(loses_s, 1), "passes_over": _passed_over(candidate)}
        return {**document, "name": document["name"] or candidate.leader.name, **more}

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
            available=self._controller.parts.strategies,
        )
        _refuse(obstacles, f"process {candidate.leader.pid} is not moved")


def _target(setup: Setup, snapshot: Snapshot, candidate: Candidate, wanted: str | None) -> str:
    limit = stale_after_s(setup.policy, snapshot.scrape_interval_s)
    if wanted is None:
        found = place(candidate, snapshot.nodes, snapshot.reserved, setup.policy, stale_after_s=limit)
        if isinstance(found, Target):
            return found.node
        raise Refused(found.reason, f"no worker can take process {candidate.leader.pid}: {found.seen}", (found,))
    obstacles = place_on(candidate, wanted, snapshot.nodes, snapshot.reserved, setup.policy, stale_after_s=limit)
    _refuse(obstacles, f"{wanted} cannot take process {candidate.leader.pid}")
    return wanted


def _strategy(candidate: Candidate, available: tuple[StrategyName, ...], wanted: StrategyName | None) -> StrategyName:
    """The one asked for, else the cheapest that nothing blocks."""
    if wanted is not None and wanted not in available:
        seen = f"strategy {wanted} is not available; available: {', '.join(available)}"
        raise Refused(Reason.NO_STRATEGY, seen, (Obstacle(Reason.NO_STRATEGY, seen, REMEDIES[Reason.NO_STRATEGY]),))
    found = [way for way in ways(candidate, available) if wanted is None or way.strategy is wanted]
    open_ways = [way for way in found if way.blocked is None or way.owner_only]
    if not open_ways:
        _refuse(tuple(way.blocked for way in found if way.blocked), f"process {candidate.leader.pid} is not moved")
    return min(open_ways, key=lambda way: way.lost_s).strategy


def _refuse(obstacles: tuple[Obstacle, ...], what: str) -> None:
    """Raises Refused for the first obstacle, with all of them; the own process of somebody else is NotPermitted."""
    if not obstacles:
        return
    first = obstacles[0]
    kind = NotPermitted if first.reason is Reason.NOT_YOURS else Refused
    raise kind(first.reason, f"{what}: {first.seen}", obstacles)


def _plan_document(asked: MovePlan, loses_s: float) -> Document:
    candidate, leader = asked.candidate, asked.candidate.leader
    return {
        "dry_run": True,
        "pid": leader.pid,
        "name": leader.name,
        "user": leader.user,
        "uid": leader.identity.uid,
        "source": candidate.node,
        "target": asked.target,
        "strategy": asked.strategy.value,
        "backend": asked.backend,
        "needs": capacity_document(candidate.needs),
        "processes": len(candidate.members),
        "loses_s": round(loses_s, 1),
        "owner_only": [obstacle_document(obstacle) for obstacle in candidate.owner_only],
        "passes_over": _passed_over(candidate),
        "env_vars": _names(asked.env),
    }


def _passed_over(candidate: Candidate) -> list[Document]:
    """What would keep everybody else from it, and its owner not: that he keeps it here."""
    return [obstacle_document(one) for one in candidate.obstacles if one.reason is Reason.KEPT]


def _names(env: Mapping[str, str]) -> list[str]:
    return sorted(env)
