"""The way back from any state before ownership passed (safety.md, Hand-off 8): repeatable, honest about its end."""

from __future__ import annotations

import contextlib
import json
import logging

from offloader.errors import ExternalError, JournalError
from offloader.model import Attempt, AttemptState, Move, MoveState, Reason
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.failures import STOPPERS, Stopped, stopped_by
from offloader.moves.in_flight import InFlight
from offloader.moves.successor import Successor

__all__ = ["roll_back"]

log = logging.getLogger(__name__)


async def roll_back(flight: InFlight, stopped: Stopped) -> Move:
    """Successor confirmed dead, original running again, nothing reserved. Returns the move in its final state."""
    with contextlib.suppress(JournalError):  # a full disk must not keep a process frozen: written at the end
        _journal(flight, MoveState.ROLLING_BACK, stopped.reason, stopped.detail)
    if not await flight.successor.confirm_dead():
        return await _end_against_all_odds(flight)
    state, detail = await _revive(flight, stopped)
    await _withdraw(flight)
    await flight.guard.quit()
    await _conclude(flight, state, stopped.reason, detail)
    return flight.move


async def _revive(flight: InFlight, stopped: Stopped) -> tuple[MoveState, str]:
    """The original goes on. Asked until the guard answers: a frozen process is never forgotten."""
    while True:
        try:
            return await _try_to_revive(flight, stopped)
        except STOPPERS as error:
            with contextlib.suppress(JournalError):
                flight.tools.store.set_fact(flight.move.id, "unanswered", stopped_by(error, "thawing").detail)
            await flight.tools.clock.sleep(flight.tools.timings.retry_s)
            flight.guard.state = "absent"


async def _try_to_revive(flight: InFlight, stopped: Stopped) -> tuple[MoveState, str]:
    guard = flight.guard
    if guard.state == "absent" and not await guard.adopt():
        return MoveState.ROLLED_BACK, stopped.detail
    if guard.state == "ended":  # a roll-back before this one got so far, and perhaps no further
        return await _restart_here(flight, "its files")
    changed = await guard.thaw()
    if changed:
        await guard.end()
        return await _restart_here(flight, ", ".join(changed))
    if guard.state == "gone":
        return _without_original(flight, stopped)
    return MoveState.ROLLED_BACK, stopped.detail


def _without_original(flight: InFlight, stopped: Stopped) -> tuple[MoveState, str]:
    """It ended by itself before it was touched; or it was killed while we held it, and nothing is left."""
    if MoveState.FROZEN not in (step.state for step in flight.tools.store.timeline(flight.move.id)):
        return MoveState.ROLLED_BACK, f"{stopped.detail}; the original ended by itself meanwhile"
    killed = "the original was killed while it was frozen (by its owner, for lack of memory, or by a reboot)"
    return MoveState.LOST, f"{stopped.detail}; {killed}"


async def _restart_here(flight: InFlight, changed: str) -> tuple[MoveState, str]:
    """The successor wrote to the original's files: thawed onto them it would corrupt them, so it starts again here."""
    tools, move = flight.tools, flight.move
    capsule = tools.capsules.get(move.job)
    if capsule is None:
        return MoveState.LOST, f"{changed} changed by the successor, and the capsule is gone"
    agent = tools.agents[move.source]
    try:
        epoch, pid = await _launch(flight, agent, capsule)
    except STOPPERS as error:
        why = stopped_by(error, "restart").detail
        return MoveState.LOST, f"{changed} changed by the successor; starting again here failed: {why}"
    attempt = Attempt(move.job, epoch, move.source, "local", None, pid, AttemptState.RUNNING, tools.clock.time())
    with contextlib.suppress(JournalError):
        tools.store.save_attempt(attempt)
    return MoveState.ROLLED_BACK, f"restarted on {move.source}, since the successor had changed {changed}"


async def _launch(flight: InFlight, agent: Agent, capsule: bytes) -> tuple[int, int | None]:
    """Start the job from its capsule on this node, unless a roll-back before this one has done it: epoch and pid."""
    tools, move = flight.tools, flight.move
    epoch = move.to_epoch
    while True:
        epoch += 1
        here = Successor(agent, move.job, epoch, tools.timings, tools.clock)
        here.may_have_been_let_go()
        try:
            try:
                await here.place(_for_epoch(capsule, epoch))
            except VerbFailed as error:
                if error.code != "EXISTS":
                    raise
                if await here.confirm_dead():
                    continue
                return epoch, None
            return epoch, await _let_go(flight, agent, here)
        finally:
            await here.leave()


async def _let_go(flight: InFlight, agent: Agent, here: Successor) -> int | None:
    """From *placed* to *owned*; the process id. Raises STOPPERS: nothing runs."""

    async def on_its_own() -> str | None:
        return None

    async def nobody_to_tell() -> None:
        return None

    await agent.verb("hold", here.directory, "--detach")
    await here.held(on_its_own)
    launched = await here.go(0.0, nobody_to_tell)
    await here.proven(0.0)
    while True:
        try:
            owned = await here.own()
            break
        except STOPPERS:
            await flight.tools.clock.sleep(flight.tools.timings.retry_s)
    if not owned:
        raise Stopped(Reason.LAUNCH_FAILED, "it gave up before it was running")
    return launched.get("pid")


def _for_epoch(capsule: bytes, epoch: int) -> bytes:
    document = json.loads(capsule)
    document["epoch"] = epoch
    document["env_add"]["OFFLOADING_TASK_ID"] = f"{document['job']}.{epoch}"
    return json.dumps(document).encode()


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
    detail = "the successor says that it owns the work although ownership was never passed: the original was ended"
    await _conclude(flight, MoveState.LOST, Reason.LAUNCH_FAILED, detail)
    return flight.move


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
