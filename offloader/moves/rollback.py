"""The way back from any state before ownership passed (safety.md, Hand-off 8): repeatable, honest about its end."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace

from offloader.errors import ExternalError, JournalError
from offloader.jobs.aftermath import ORIGINAL
from offloader.model import Attempt, AttemptState, Move, MoveState, Reason
from offloader.moves.failures import STOPPERS, Stopped, stopped_by
from offloader.moves.in_flight import InFlight
from offloader.moves.incidents import Incident, IncidentKind
from offloader.moves.persist import surely
from offloader.moves.submitted import LOCAL
from offloader.moves.unfenced import remember

__all__ = ["roll_back"]

log = logging.getLogger(__name__)

_NEXT = -1  # in place of an epoch that is not known yet


async def roll_back(flight: InFlight, stopped: Stopped) -> Move:
    """Successor confirmed dead, original running again, nothing reserved. Returns the move in its final state."""
    with contextlib.suppress(JournalError):  # a full disk must not keep a process frozen: written at the end
        _journal(flight, MoveState.ROLLING_BACK, stopped.reason, stopped.detail)
    if not await flight.successor.confirm_dead():
        return await _end_against_all_odds(flight)
    state, detail = await _revive(flight, stopped)
    await _withdraw(flight)
    if flight.guard.state == "saving":
        await flight.guard.leave()  # it is asked on by whoever follows the original
    else:
        await flight.guard.quit()
    if flight.successor.presumed_dead:
        given_up = (flight.move.target, flight.move.job, flight.move.to_epoch)
        await surely(flight.tools, "what is to be fenced", remember, flight.tools, *given_up)
    await _conclude(flight, state, stopped.reason, detail)
    await flight.carrying.let_go(flight.move.to_epoch)
    return flight.move


async def _revive(flight: InFlight, stopped: Stopped) -> tuple[MoveState, str]:
    """The original goes on. Asked until the guard answers: a frozen process is never forgotten.

    Where its node is silent that may be long: what was kept at the target is given back meanwhile, and people are told.
    """
    since, told, kept = flight.tools.clock.boottime(), False, True
    while True:
        try:
            return await _try_to_revive(flight, stopped)
        except STOPPERS as error:
            with contextlib.suppress(JournalError):
                flight.tools.store.set_fact(flight.move.id, "unanswered", stopped_by(error, "thawing").detail)
            if kept:
                kept = False
                await _withdraw(flight)
                with contextlib.suppress(JournalError):
                    flight.tools.store.release(flight.move.id)
            if not told and flight.tools.clock.boottime() - since >= flight.tools.timings.reach_s:
                told = True
                _tell_silent(flight, error)
            await flight.tools.clock.sleep(flight.tools.timings.retry_s)
            flight.guard.state = "absent"


def _tell_silent(flight: InFlight, error: BaseException) -> None:
    move = flight.move
    words = f"{move.id} turns back, and {move.source} does not say whether its original goes on: {error}"
    flight.tools.on_incident(Incident(IncidentKind.OUT_OF_REACH, move.job, move.id, words))


async def _try_to_revive(flight: InFlight, stopped: Stopped) -> tuple[MoveState, str]:
    guard = flight.guard
    if guard.state == "absent" and not await guard.adopt():
        return MoveState.ROLLED_BACK, stopped.detail
    if guard.state == "ended":  # a roll-back before this one got so far, and perhaps no further
        return await _restart_here(flight, "the successor had changed its files")
    changed = await guard.thaw()
    if guard.state in ("saving", "saved"):
        return await _asked_to_save(flight, stopped)
    if changed:
        await guard.end()
        # The successor wrote to them: thawed onto what it left, the original would corrupt them.
        return await _restart_here(flight, f"the successor had changed {', '.join(changed)}")
    if guard.state == "gone":
        return await _without_original(flight, stopped)
    return MoveState.ROLLED_BACK, stopped.detail


async def _asked_to_save(flight: InFlight, stopped: Stopped) -> tuple[MoveState, str]:
    """It has ended, and goes on from what it saved; or it runs, and may do so at any time: then it is followed."""
    if flight.guard.state == "saved":
        return await _restart_here(flight, f"{stopped.detail}; the original had ended when it was asked to save")
    await surely(flight.tools, "an original that was asked to save", _watch_original, flight)
    return MoveState.ROLLED_BACK, f"{stopped.detail}; when it saves and ends, it is started again here"


async def _without_original(flight: InFlight, stopped: Stopped) -> tuple[MoveState, str]:
    """It ended by itself before it was touched; or it was killed while we held it, and nothing is left."""
    if MoveState.FROZEN not in (step.state for step in flight.tools.store.timeline(flight.move.id)):
        return MoveState.ROLLED_BACK, f"{stopped.detail}; the original ended by itself meanwhile"
    killed = "the original was killed while it was frozen (by its owner, for lack of memory, or by a reboot)"
    job = flight.tools.store.job(flight.move.job)
    if job is not None and job.restart_safe:
        return await _restart_here(flight, killed)
    return MoveState.LOST, f"{stopped.detail}; {killed}, and that running it again is harmless was not declared"


async def _restart_here(flight: InFlight, why: str) -> tuple[MoveState, str]:
    """No original is left: the job gets a pending attempt at its source, which whoever cares for it brings to life."""
    if flight.tools.capsules.get(flight.move.job) is None:
        return MoveState.LOST, f"{why}, and the capsule is gone"
    await surely(flight.tools, "an attempt at the source", _add_attempt_here, flight)
    return MoveState.ROLLED_BACK, f"restarted on {flight.move.source}: {why}"


def _add_attempt_here(flight: InFlight) -> None:
    now = flight.tools.clock.time()
    _add(flight, Attempt(flight.move.job, _NEXT, "", LOCAL, None, None, AttemptState.PENDING, now))


def _watch_original(flight: InFlight) -> None:
    """From when it was asked to save, the original is in our care: it may end at any time because of that."""
    move, store = flight.move, flight.tools.store
    began = next(one.started_t for one in store.attempts(move.job) if one.epoch == move.from_epoch)
    pid = move.identity.pid
    _add(flight, Attempt(move.job, _NEXT, move.source, ORIGINAL, None, pid, AttemptState.RUNNING, began))


def _add(flight: InFlight, attempt: Attempt) -> None:
    """As the job's next one, unless a roll-back before this one did."""
    newest = flight.tools.store.attempts(flight.move.job)[-1].epoch
    if newest == flight.move.to_epoch:
        flight.tools.store.save_attempt(replace(attempt, epoch=newest + 1))


async def _withdraw(flight: InFlight) -> None:
    """The submission has nothing left to run: take it off the backend's list. Best effort, its capsule is revoked."""
    submission = flight.move.submission_id
    if submission is not None:
        with contextlib.suppress(ExternalError, TimeoutError):
            await flight.tools.backends[flight.move.backend].stop(submission)


async def _end_against_all_odds(flight: InFlight) -> Move:
    """It says that it owns although nobody passed it ownership: of two copies, the one that runs stays."""
    while True:
        try:
            if await flight.guard.adopt():
                await flight.guard.end()
            break
        except STOPPERS:
            await flight.tools.clock.sleep(flight.tools.timings.retry_s)
    await flight.guard.quit()
    if flight.tools.strategies[flight.move.strategy].copies:
        await _let_go_on(flight)
    await surely(flight.tools, "the successor that owns", _adopt, flight)
    detail = "the successor says that it owns the work although ownership was never passed: the original was ended"
    await _conclude(flight, MoveState.LOST, Reason.LAUNCH_FAILED, detail)
    return flight.move


async def _let_go_on(flight: InFlight) -> None:
    """What was restored waits for the original's end. Asked until it is answered."""
    while True:
        try:
            return await flight.successor.go_on()
        except STOPPERS:
            await flight.tools.clock.sleep(flight.tools.timings.retry_s)


def _adopt(flight: InFlight) -> None:
    """The successor is what runs: followed from now on like that of any move."""
    now = flight.tools.clock.time()
    for attempt in flight.tools.store.attempts(flight.move.job):
        if attempt.epoch == flight.move.from_epoch:
            flight.tools.store.save_attempt(replace(attempt, state=AttemptState.ENDED, ended_t=now))
        elif attempt.epoch == flight.move.to_epoch:
            running = replace(attempt, state=AttemptState.RUNNING, submission_id=flight.move.submission_id)
            flight.tools.store.save_attempt(running)


async def _conclude(flight: InFlight, state: MoveState, reason: Reason, detail: str) -> None:
    """The end, which also gives back what was reserved. Nothing is frozen any more: the journal may take its time."""
    while True:
        try:
            _journal(flight, MoveState.ROLLING_BACK, reason, detail)
            _journal(flight, state, reason, detail)
        except JournalError as error:
            log.warning("%s is %s, not written yet: %s", flight.move.id, state, error)
            await flight.tools.clock.sleep(flight.tools.timings.retry_s)
        else:
            return


def _journal(flight: InFlight, state: MoveState, reason: Reason, detail: str) -> None:
    """Write the state down, once. Raises JournalError."""
    if flight.move.state is not state:
        flight.to(state, reason=reason, detail=detail)
