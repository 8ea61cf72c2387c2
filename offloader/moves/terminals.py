"""Terminals that the stub of `run --local` keeps for its user, while their jobs move.

Who the stub is stands in the job's environment, and so may be anybody's invention: it has to be of the job's own
account, and to say itself that this very process is its job.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.jobs.store import Store
from offloader.model import Move, Reason
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.failures import Stopped
from offloader.moves.order import RUN_MARK

__all__ = ["Kept", "kept", "remember", "stub_of", "yielded"]

_FACT = "terminal"
_LOCAL = re.compile(r"local_[0-9_]{1,40}")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A job's terminal.

    `stub`: whose it is, on the head; `holder`: who has it where the job runs now (both as the verb `terminal` knows
    them); `device`: as an estate calls it.
    """

    stub: str
    holder: str
    device: str


async def kept(agent: Agent, capture: Mapping[str, Any], move: Move) -> Kept | str | None:
    """The terminal that is kept for a job; None: it says of none. A sentence: why it is not, although it does.

    Args:
        agent: of its source.
        capture: of its leader.
        move: for which this is asked.

    Raises NodeUnreachable.
    """
    name = _named(capture)
    if name is None:
        return None
    stub = f"{capture['uid']}/{name}"
    holder = stub if move.from_epoch == 0 else agent.attempt_dir(move.job, move.from_epoch)
    try:
        looked = await _ask(agent, holder, {"do": "look"})
    except VerbFailed as error:
        return f"whoever keeps it for its user does not say so: {error.detail or error.code}"
    if looked.get("pid") != move.identity.pid:
        return "it is not this process that `run --local` started there"
    return Kept(stub, holder, str(looked.get("device")))


async def yielded(agent: Agent, terminal: Kept, move: str) -> Document:
    """All of it that has to go along, of a job that is held still by that move.

    From then on nothing is typed on it; should the job run on, it has it back by itself.

    Raises Stopped(TERMINAL | STOPPED).
    """
    try:
        return await _ask(agent, terminal.holder, {"do": "yield", "move": move})
    except VerbFailed as error:
        reason = Reason.STOPPED if error.code == Reason.STOPPED else Reason.TERMINAL
        raise Stopped(reason, f"its terminal: {error.detail or error.code}") from error
    except NodeUnreachable as error:
        raise Stopped(Reason.LINK_LOST, f"its terminal: {error}") from error


def remember(store: Store, move: Move, terminal: Kept) -> None:
    """Who its stub is, for as long as the job is known. Raises JournalError."""
    store.set_fact(move.id, _FACT, terminal.stub)


def stub_of(store: Store, job_id: str) -> str | None:
    """Who keeps that job's terminal. Raises JournalError."""
    found = (store.fact(move.id, _FACT) for move in store.moves_of_job(job_id))
    return next((str(one) for one in found if one is not None), None)


async def _ask(agent: Agent, holder: str, request: Document) -> Document:
    answer = await agent.verb("terminal", holder, stdin=json.dumps(request).encode())
    if not isinstance(answer, dict):
        raise NodeUnreachable(f"{agent.node.name}: what answers is no launcher")
    return answer


def _named(capture: Mapping[str, Any]) -> str | None:
    mark = f"{RUN_MARK}=".encode()
    entries = [base64.b64decode(entry) for entry in capture["environ"]]
    values = [entry.removeprefix(mark).decode("ascii", "replace") for entry in entries if entry.startswith(mark)]
    return values[0] if values and _LOCAL.fullmatch(values[0]) else None
