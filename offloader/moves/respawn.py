"""The respawn watch (safety.md, Hand-off 12): does something at the source start again what a move has ended there?

A supervisor, cron, or a loop in a shell that the selection did not recognise makes a second copy that no epoch fences.
It is told of, and its name is quarantined, or every copy of it would be moved in turn. Nothing is killed: it may be
its owner's wish.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from offloader.errors import JournalError
from offloader.model import Move, MoveState
from offloader.moves.incidents import Incident, IncidentKind
from offloader.moves.origin import Origin, fingerprint, recalled

if TYPE_CHECKING:
    from offloader.moves.tools import Tools

__all__ = ["Newcomer", "Newcomers", "nobody", "watch"]

log = logging.getLogger(__name__)

FACT = "respawned"
_ENDED_BY_US = (MoveState.OWNED, MoveState.ROLLING_BACK)
_SURE_S = 1.0
"""One of ours that is being ended has lost its mark already, and is gone by then."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A young process. `ours`: it carries the mark of a moved job, so a move has started it."""

    pid: int
    age_s: float
    argv: tuple[bytes, ...]
    cwd: bytes
    ours: bool


class Newcomers(Protocol):
    """Looks through the processes of the head."""

    def __call__(self, uid: int, within_s: float) -> Awaitable[Sequence[Newcomer]]:
        """Processes of that user that were started within the last so many seconds."""


async def nobody(uid: int, within_s: float) -> Sequence[Newcomer]:
    """The Newcomers of a controller that cannot look."""
    del uid, within_s
    return ()


async def watch(tools: Tools, move: Move) -> None:
    """Until the time is over, or one was found and told of. Whatever was started before the original's end is none."""
    while (left := await _look(tools, move)) > 0:
        await tools.clock.sleep(min(left, tools.timings.respawn_look_s))


async def _look(tools: Tools, move: Move) -> float:
    """Look once; seconds that are left to watch."""
    try:
        origin, began, job = recalled(tools.store, move.id), _began(tools, move), tools.store.job(move.job)
        if origin is None or job is None or began is None or tools.store.fact(move.id, FACT) is not None:
            return 0.0
        since_s = tools.clock.time() - began
        if since_s > tools.timings.respawn_s:
            return 0.0
        again = await _again(tools, move, origin, job.uid, since_s)
        if again is not None:
            await tools.clock.sleep(_SURE_S)
            again = await _again(tools, move, origin, job.uid, since_s + _SURE_S)
        if again is None:
            return tools.timings.respawn_s - since_s
        tools.store.set_fact(move.id, FACT, again.pid)
    except JournalError as error:
        log.warning("respawn watch of %s: %s", move.id, error)
        return tools.timings.respawn_look_s
    words = (
        f"{job.name} of {job.user} ({move.id}) was moved, and process {again.pid} on {move.source}, started "
        f"{again.age_s:.0f} s ago, runs the same command in the same directory: a supervisor, or its owner?"
    )
    log.warning("%s", words)
    tools.on_incident(Incident(IncidentKind.RESPAWNED, job.id, move.id, words, origin.name))
    return 0.0


async def _again(tools: Tools, move: Move, origin: Origin, uid: int, within_s: float) -> Newcomer | None:
    """Whoever runs the original's command there, and is not its job."""
    found = await tools.newcomers(uid, within_s)
    home = {one.pid for one in tools.store.attempts(move.job) if one.epoch > 0 and one.node == move.source}
    return next((one for one in found if one.pid not in home and _same(one, origin, uid)), None)


def _began(tools: Tools, move: Move) -> float | None:
    """From when on the original may have been ended; None: it never was."""
    return next((step.t for step in tools.store.timeline(move.id) if step.state in _ENDED_BY_US), None)


def _same(one: Newcomer, origin: Origin, uid: int) -> bool:
    return not one.ours and fingerprint(uid, one.argv, one.cwd) == origin.fingerprint
