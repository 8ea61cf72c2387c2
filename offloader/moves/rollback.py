"""The way back from any state before ownership passed (safety.md, Hand-off 8): repeatable, honest about its end."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from offloader.errors import ExternalError, JournalError
from offloader.model import Attempt, AttemptState, Move, MoveState, Reason
from offloader.moves.agent import Agent
from offloader.moves.failures import STOPPERS, Stopped, stopped_by
from offloader.moves.successor import Successor

if TYPE_CHECKING:
    from offloader.moves.handoff import Handoff

__all__ = ["roll_back"]


async def roll_back(handoff: Handoff, stopped: Stopped) -> Move:
    """Successor confirmed dead, original running again, nothing reserved. Returns the move in its final state."""
    tools = handoff.tools
    _journal(handoff, MoveState.ROLLING_BACK, reason=stopped.reason, detail=stopped.detail)
    if not await handoff.successor.confirm_dead():
        return await _end_against_all_odds(handoff)
    outcome = await _revive(handoff, stopped)
    await _withdraw(handoff)
    tools.store.release(handoff.move.id)
    await handoff.guard.quit()
    state, detail = outcome
    _journal(handoff, state, reason=stopped.reason, detail=detail)
    return handoff.move


async def _revive(handoff: Handoff, stopped: Stopped) -> tuple[MoveState, str]:
    """The original goes on. Asked until the guard answers: a frozen process is never forgotten."""
    while True:
        try:
            if handoff.guard.state == "absent" and not await handoff.guard.adopt():
                return MoveState.ROLLED_BACK, stopped.detail
            changed = await handoff.guard.thaw()
            break
        except STOPPERS as error:
            handoff.tools.store.set_fact(handoff.move.id, "unanswered", stopped_by(error, "thawing").detail)
            await handoff.tools.clock.sleep(handoff.tools.timings.retry_s)
            handoff.guard.state = "absent"
    if changed:
        return await _restart_here(handoff, changed)
    if handoff.guard.state == "gone":
        return MoveState.ROLLED_BACK, f"{stopped.detail}; the original ended by itself meanwhile"
    return MoveState.ROLLED_BACK, stopped.detail


async def _restart_here(handoff: Handoff, changed: tuple[str, ...]) -> tuple[MoveState, str]:
    """The successor wrote to the original's files: thawed onto them it would corrupt them, so it starts again here."""
    tools, move = handoff.tools, handoff.move
    await handoff.guard.end()
    capsule = tools.capsules.get(move.job)
    if capsule is None:
        return MoveState.LOST, f"{changed[0]} was changed by the successor and the capsule is gone"
    epoch = move.to_epoch + 1
    agent = tools.agents[move.source]
    here = Successor(agent, move.job, epoch, tools.timings, tools.clock)
    try:
        pid = await _launch(here, agent, _for_epoch(capsule, epoch))
    except STOPPERS as error:
        return (
            MoveState.LOST,
            f"{changed[0]} was changed; starting again here failed: {stopped_by(error, 'restart').detail}",
        )
    finally:
        await here.leave()
    tools.store.save_attempt(
        Attempt(move.job, epoch, move.source, "local", None, pid, AttemptState.RUNNING, tools.clock.time())
    )
    return MoveState.ROLLED_BACK, f"restarted on {move.source}, since the successor had changed {', '.join(changed)}"


async def _launch(here: Successor, agent: Agent, capsule: bytes) -> int | None:
    """Start the job from its capsule on this node; returns its process id."""

    async def on_its_own() -> str | None:
        return None

    async def nobody_to_tell() -> None:
        return None

    await here.place(capsule)
    await agent.verb("hold", here.directory, "--detach")
    await here.held(on_its_own)
    launched = await here.go(0.0, nobody_to_tell)
    await here.proven(0.0)
    await here.own()
    return launched.get("pid")


def _for_epoch(capsule: bytes, epoch: int) -> bytes:
    document = json.loads(capsule)
    document["epoch"] = epoch
    document["env_add"]["OFFLOADING_TASK_ID"] = f"{document['job']}.{epoch}"
    return json.dumps(document).encode()


async def _withdraw(handoff: Handoff) -> None:
    """The submission has nothing left to run: take it off the backend's list. Best effort, its capsule is revoked."""
    submission = handoff.move.submission_id
    if submission is not None:
        with contextlib.suppress(ExternalError, TimeoutError):
            await handoff.tools.backends[handoff.move.backend].stop(submission)


async def _end_against_all_odds(handoff: Handoff) -> Move:
    """It says that it owns although nobody passed it ownership: of two copies, the one that runs stays."""
    while True:
        try:
            await handoff.guard.adopt()
            await handoff.guard.end()
            break
        except STOPPERS:
            await handoff.tools.clock.sleep(handoff.tools.timings.retry_s)
    await handoff.guard.quit()
    detail = "the successor says that it owns the work although ownership was never passed: the original was ended"
    _journal(handoff, MoveState.LOST, reason=Reason.LAUNCH_FAILED, detail=detail)
    return handoff.move


def _journal(handoff: Handoff, state: MoveState, *, reason: Reason | None = None, detail: str = "") -> None:
    """Write the state down; a full disk must not keep a process frozen, so here it only shows in the move."""
    if handoff.move.state is state:
        return
    before = handoff.move.state
    tools = handoff.tools
    with contextlib.suppress(JournalError):
        handoff.move = tools.store.transition(
            handoff.move.id, state, t=tools.clock.time(), reason=reason, detail=detail
        )
        tools.on_transition(handoff.move, before)
