"""A pending attempt comes to life: a place is found and reserved, then it is launched.

Every step is journalled before it is taken: an attempt without a node was never begun; one with a node may have been,
and is taken up; one whose state is unknown may own the work.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from offloader.errors import JournalError, Refused
from offloader.jobs.aftermath import Ending, ending_of, launches, tries
from offloader.model import Attempt, AttemptState, Capacity, Obstacle, Reason, Reservation, ReservationKind
from offloader.moves.follow import Ended
from offloader.moves.incidents import IncidentKind
from offloader.moves.persist import surely
from offloader.moves.relaunch import NotStarted, Started, launch, take_up
from offloader.moves.submitted import LOCAL
from offloader.moves.tools import Place
from offloader.moves.ward import Ward

__all__ = ["Restarting", "Spawn"]

Spawn = Callable[[Coroutine[Any, Any, Any], str], object]
"""Lets something go on beside, by name."""


class Restarting:
    """Starts one job again. Asked once per attempt; None is the answer for one that runs now."""

    def __init__(self, ward: Ward, spawn: Spawn) -> None:
        self._ward = ward
        self._tools = ward.tools
        self._spawn = spawn
        self._waited_for: str | None = None

    async def start(self, attempt: Attempt) -> Ended | None:
        """Find it a place and launch it there. Raises JournalError while nothing has been begun."""
        capsule = self._tools.capsules.get(attempt.job)
        if capsule is None:
            return Ended(Ending.NOT_STARTED, detail="its capsule is gone")
        await self._pause()
        placed = await self._placed(attempt)
        if placed is None:
            return Ended(Ending.CANCELLED, detail="its owner wants it no more")
        origin = self._ward.origin
        needs = origin.needs if origin is not None else Capacity()
        try:
            await launch(self._tools, placed, capsule, needs, lambda started: self._owning(placed, started))
        except NotStarted as error:
            return _not_started(error)
        await self._running(await surely(self._tools, "its attempts", self._ward.attempts))
        return None

    async def take_up(self, attempt: Attempt) -> Ended | None:
        """A launch in whose middle the controller was restarted."""
        try:
            started = await take_up(self._tools, attempt)
        except NotStarted as error:
            return _not_started(error)
        await self._running((replace(attempt, pid=started.pid, resumed_t=started.resumed_t),))
        return None

    async def _pause(self) -> None:
        failed = tries(self._ward.attempts()) - 1
        if failed > 0:
            timings = self._tools.timings
            await self._tools.clock.sleep(min(timings.again_max_s, timings.again_s * 2 ** (failed - 1)))

    async def _placed(self, attempt: Attempt) -> Attempt | None:
        """The attempt with a node and, elsewhere, a reservation there; None: its owner wants it no more."""
        while not self._ward.cancelled:
            place = self._place(attempt)
            if isinstance(place, Place):
                placed = replace(attempt, node=place.node, submission_id=_submission(attempt))
                refused = self._reserve(placed, place.available)
                if refused is None:
                    await self._ward.save(placed)
                    return placed
                place = refused
            self._waits_for(f"{place.reason}: {place.seen}")
            await self._tools.clock.sleep(self._tools.timings.place_s)
        return None

    def _place(self, attempt: Attempt) -> Place | Obstacle:
        """At its source it is back where it was: nothing forbids that. Elsewhere the kill-switch does.

        That automatic moves are off does not: a job that moved is cared for.
        """
        if attempt.backend == LOCAL:
            return Place(self._ward.source, Capacity())
        move = self._ward.move
        forbidden = self._tools.forbidden(replace(move, automatic=False) if move is not None else None)
        if forbidden is not None:
            return Obstacle(*forbidden)
        origin = self._ward.origin
        if origin is None:
            return Obstacle(Reason.NO_TARGET, "what it needs is not known")
        order = self._ward.order
        only = order.target if order is not None else None
        return self._tools.placer(self._ward.source, origin.usage, origin.needs, avoid=self._bad_places(), only=only)

    def _bad_places(self) -> frozenset[str]:
        """Where it died, and where it did not come to life since."""
        found: set[str] = set()
        for attempt in reversed(self._ward.attempts()):
            if attempt.backend != LOCAL and attempt.node:
                found.add(attempt.node)
            if attempt.pid is not None:
                break
        return frozenset(found)

    def _reserve(self, attempt: Attempt, available: Capacity) -> Obstacle | None:
        origin = self._ward.origin
        if attempt.backend == LOCAL or origin is None:
            return None
        wanted = Reservation(
            id=f"{attempt.job}.{attempt.epoch}",
            node=attempt.node,
            amount=origin.needs,
            holder=self._ward.id,
            kind=ReservationKind.MOVE,
            created_t=self._tools.clock.time(),
        )
        try:
            self._tools.store.release(self._ward.id)  # what an attempt before this one held
            self._tools.store.reserve(wanted, available)
        except Refused as error:
            return Obstacle(error.reason, str(error))
        except JournalError as error:
            return Obstacle(Reason.JOURNAL_FAILED, str(error))
        return None

    def _waits_for(self, what: str) -> None:
        if what != self._waited_for:
            self._waited_for = what
            again = " again" if self._ward.move is not None or launches(self._ward.attempts()) else ""
            self._ward.tell(IncidentKind.NO_PLACE, f"{self._ward.name} is to start{again} and waits: {what}")

    async def _owning(self, attempt: Attempt, started: Started) -> None:
        now = self._tools.clock.time()
        owning = replace(attempt, pid=started.pid, resumed_t=started.resumed_t)
        await self._ward.save(replace(owning, state=AttemptState.UNKNOWN, started_t=now))

    async def _running(self, attempts: tuple[Attempt, ...]) -> None:
        attempt = attempts[-1]
        await self._ward.save(replace(attempt, state=AttemptState.RUNNING))
        self._waited_for = None
        where = "at its source" if attempt.backend == LOCAL else "elsewhere"
        if self._ward.move is not None or launches(attempts) > 1:
            self._ward.tell(IncidentKind.RELAUNCHED, f"{self._ward.name} runs again {where}, on {attempt.node}")
        self._spawn(self._release_later(), f"release {self._ward.id}.{attempt.epoch}")

    async def _release_later(self) -> None:
        """Until Prometheus shows its load on the new node, the ledger keeps its place."""
        await self._tools.clock.sleep(self._tools.timings.reservation_lag_s)
        await surely(self._tools, "its load shows by now", self._tools.store.release, self._ward.id)


def _submission(attempt: Attempt) -> str | None:
    return None if attempt.backend == LOCAL else f"{attempt.job}-{attempt.epoch}"


def _not_started(error: NotStarted) -> Ended:
    if error.completion is not None:
        return Ended(ending_of(error.completion), error.completion, detail=error.detail)
    return Ended(Ending.NOT_STARTED, detail=f"it could not be started: {error}")
