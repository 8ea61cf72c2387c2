"""Attempts that were given up while their node did not answer: fenced as soon as it does.

Nothing runs for them any more, their lease is over. But a node that lost its power still has what it had: a capsule
that waits to be claimed and, of a live move, an image, which could bring back the past. They are kept in the journal,
so that a controller that was restarted goes on asking.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

from offloader.errors import ExternalError, JournalError
from offloader.moves.agent import VerbFailed
from offloader.moves.tools import Tools

__all__ = ["Unfenced", "fence_when_they_answer", "remember", "remembered"]

log = logging.getLogger(__name__)

_SETTING = "unfenced"
_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Unfenced:
    """One attempt. `since_t`: when it was given up (Unix seconds)."""

    node: str
    job: str
    epoch: int
    since_t: float


def remember(tools: Tools, node: str, job: str, epoch: int) -> None:
    """Write down that it is to be fenced. Raises JournalError."""
    others = [one for one in remembered(tools) if (one.job, one.epoch) != (job, epoch)]
    _keep(tools, [*others, Unfenced(node, job, epoch, tools.clock.time())])


def remembered(tools: Tools) -> tuple[Unfenced, ...]:
    """Those that are still to be fenced. Raises JournalError."""
    kept: list[dict[str, Any]] = tools.store.setting(_SETTING) or []
    return tuple(Unfenced(**one) for one in kept)


async def fence_when_they_answer(tools: Tools) -> None:
    """For ever, more and more rarely while a node stays silent."""
    shortest_s = tools.timings.place_s
    pause_s = shortest_s
    while True:
        try:
            done = await _round(tools)
        except JournalError as error:
            log.warning("attempts that are to be fenced: %s", error)
            done = False
        pause_s = shortest_s if done else min(_LONGEST_S, 2 * pause_s)
        await tools.clock.sleep(pause_s)


async def _round(tools: Tools) -> bool:
    """Ask every node once, until it does not answer; whether nothing is left to be asked. Raises JournalError."""
    silent: set[str] = set()
    for one in remembered(tools):
        if tools.clock.time() - one.since_t > tools.timings.history_s:
            _forget(tools, one)  # so is its job
        elif one.node not in silent and not await _fenced(tools, one):
            silent.add(one.node)
    return not silent


async def _fenced(tools: Tools, one: Unfenced) -> bool:
    agent = tools.agents.get(one.node)
    if agent is None:
        return False  # not in the cluster file now
    try:
        answer = await agent.verb("fence", agent.attempt_dir(one.job, one.epoch))
    except (ExternalError, VerbFailed, TimeoutError):
        agent.forget()
        return False
    if answer.get("dead"):
        _forget(tools, one)
    return bool(answer.get("dead"))


def _forget(tools: Tools, one: Unfenced) -> None:
    """What was remembered since it was read stays."""
    _keep(tools, [other for other in remembered(tools) if other != one])


def _keep(tools: Tools, those: list[Unfenced]) -> None:
    tools.store.set_setting(_SETTING, [asdict(one) for one in those])
