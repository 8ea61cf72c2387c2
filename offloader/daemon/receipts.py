"""Receipts of moves: what is known at the decision is kept; once a move shows in Prometheus, its receipt is written.

Prometheus is asked for the moment that the commit and the look-backs name, whenever that was: a controller that was
away, or a Prometheus that did not answer, loses none. Which receipts are still to be written the journal says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from offloader.daemon.controller import Controller
from offloader.daemon.experience import Experience
from offloader.daemon.outcomes import Due, beside, decided_of, due_of, outcome, record_of
from offloader.daemon.receipt_documents import loss_document, loss_sentence, receipt_document, receipt_sentence
from offloader.errors import JournalError
from offloader.jobs.events import Event, EventKind
from offloader.jobs.receipt import compose, later_losses, settled
from offloader.jobs.receipt_json import decided_document, decided_from
from offloader.jobs.store import DECIDED
from offloader.model import Decision, Loss, Move, Pressures, Reason, Receipt, Snapshot
from offloader.moves.incidents import Incident, IncidentKind
from offloader.moves.plan import MovePlan

__all__ = ["Receipts"]

log = logging.getLogger(__name__)

_ANSWER_S = 3600.0
"""For so long a Prometheus that gives no answer is asked again: what it recorded it tells later as well."""

_PATIENT_S = 120.0
_AGAIN_S, _OFTEN_S = 15.0, 60.0
_DEAF = frozenset({Reason.QUERY_FAILED, Reason.WARNINGS})
"""Readings that say something of Prometheus now, nothing of the moment that it was asked for."""


class Receipts:
    """Listens to the controller and the mover, and writes every receipt when it is due."""

    def __init__(
        self,
        controller: Controller,
        experience: Experience,
        written: Callable[[Receipt], None],
        lost: Callable[[Move, Loss], None],
    ) -> None:
        """Args: written: told of every receipt, once; lost: of every loss after a move."""
        self._controller = controller
        self._experience = experience
        self._written = written
        self._lost = lost
        self._new = asyncio.Event()

    def begun(self, move: Move, asked: MovePlan, decision: Decision | None, snapshot: Snapshot) -> None:
        """Keep what is known when a move is decided."""
        decided = decided_document(decided_of(asked, decision, snapshot))
        try:
            self._controller.parts.store.set_fact(move.id, DECIDED, decided)
        except JournalError as error:
            log.warning("what was known of a move is not kept", extra={"move": move.id, "error": error})

    def finished(self) -> None:
        """A move is over: there is a receipt to write."""
        self._new.set()

    def incident(self, incident: Incident) -> None:
        """A moved job was started again, or is lost: say what of its work that cost."""
        if incident.kind not in (IncidentKind.RELAUNCHED, IncidentKind.LOST):
            return
        parts = self._controller.parts
        try:
            move, job = parts.store.move(incident.move), parts.store.job(incident.job)
            losses = later_losses(record_of(parts.store, move), job) if move is not None and job is not None else ()
        except JournalError as error:
            log.warning("what was lost is not told: %s", error)
            return
        if move is not None and losses:
            newest = losses[-1]
            words, data = loss_sentence(move.id, newest), {"later_loss": loss_document(newest)}
            parts.decisions.told(EventKind.MOVE, move.id, words, parts.clock.time(), data=data)
            self._lost(move, newest)

    async def run(self) -> None:
        """For ever: write what is due, wait for what comes."""
        while True:
            self._new.clear()
            try:
                wait_s = await self.write()
            except Exception:  # the loop boundary: one odd record must not end all receipts
                log.exception("receipts are not written")
                wait_s = _OFTEN_S
            waiting = asyncio.ensure_future(self._new.wait())
            sleeping = asyncio.ensure_future(self._controller.parts.clock.sleep(wait_s))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                sleeping.cancel()

    async def write(self) -> float:
        """Write every receipt that is due now; seconds until there may be more to do."""
        waits = [_OFTEN_S]
        try:
            moves = self._controller.parts.store.without_receipt()
        except JournalError as error:
            log.warning("receipts are not written yet: %s", error)
            return _AGAIN_S
        for move in moves:
            try:
                waits.append(await self._one(move))
            except JournalError as error:  # this one's record cannot be read, or there is no room: the others go on
                log.warning("the receipt of %s is not written yet: %s", move.id, error)
        return min(waits)

    async def _one(self, move: Move) -> float:
        """Write it, or say in how many seconds that can be tried. Raises JournalError."""
        parts, setup = self._controller.parts, self._controller.setup
        record, decided = record_of(parts.store, move), decided_from(parts.store.fact(move.id, DECIDED) or {})
        due, after = due_of(record, setup), None
        if due is not None:
            found = await self._outcome(move, due)
            if isinstance(found, float):
                return found
            after = found
        now = parts.clock.time()
        others = beside(parts.store, move, decided, after.t if after is not None else now, setup)
        self._keep(compose(record, decided, after, beside=others, t=now))
        return _OFTEN_S

    async def _outcome(self, move: Move, due: Due) -> Pressures | float:
        """The source at the first moment that shows the move, or in how many seconds to look (again)."""
        parts, setup = self._controller.parts, self._controller.setup
        now, last = parts.clock.time(), due.looks[-1]
        for t in due.looks:
            if t > now:
                return t - now
            seen = outcome(await parts.observer.measure_past(setup, t), t, move, due, setup)
            if _deaf(seen) and now < due.looks[0] + _ANSWER_S:
                return _AGAIN_S if now < due.looks[0] + _PATIENT_S else _OFTEN_S
            if settled(seen) or t == last:
                return seen
        raise AssertionError("unreachable: the last look is taken as it is")

    def _keep(self, receipt: Receipt) -> None:
        """Raises JournalError."""
        words, document = receipt_sentence(receipt), receipt_document(receipt)
        event = Event(receipt.t, EventKind.MOVE, receipt.move, words, data={"receipt": document})
        if self._controller.parts.store.add_receipt(receipt, event):
            log.info(words, extra={"kind": event.kind, "subject": event.subject})
            self._experience.look_again()
            self._written(receipt)


def _deaf(seen: Pressures) -> bool:
    every = (*seen.readings.values(), *((seen.rule,) if seen.rule is not None else ()))
    return any(one.problem in _DEAF for one in every)
