"""After *done*: one attempt of a job on its node, followed until it ends, over lost connections."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from offloader.errors import ExternalError
from offloader.jobs.aftermath import Ending, ending_of
from offloader.model import Attempt, Completion
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.link import Link, LinkLost
from offloader.moves.tools import Tools

__all__ = ["Ended", "Follower", "OnReach"]

_RETRY_S = 1.0
_RETRY_MAX_S = 15.0
_FOREVER_S = 365.0 * 86400

OnReach = Callable[[str | None], Awaitable[None]]
"""Told when the node has been out of reach for long, with what was seen; None: it answers again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, and when by its node's clock (Unix seconds; None: not known)."""

    ending: Ending
    completion: Completion = field(default_factory=Completion)
    t: float | None = None
    detail: str = ""


class Follower:
    """Follows one attempt. What cannot be known stays unknown: a node out of reach has not lost its job.

    That a job has vanished is only ever concluded from a fence: its answer says that on this node, which holds the
    attempt's own record, nothing of it is alive. Ray's word that a node is dead is none: after a partition it says the
    same, and the job runs on.
    """

    def __init__(self, attempt: Attempt, tools: Tools, on_reach: OnReach) -> None:
        self._tools = tools
        self._agent: Agent = tools.agents[attempt.node]
        self._directory = self._agent.attempt_dir(attempt.job, attempt.epoch)
        self._link: Link | None = None
        self._on_reach = on_reach
        self._silent_since: float | None = None
        self._told = False
        self._cancelled = False

    async def run(self) -> Ended:
        """Until it has ended."""
        pause = _RETRY_S
        while True:
            try:
                ended = await self._wait_on_link()
            except (LinkLost, ExternalError, TimeoutError):
                ended = await self._ask()
            finally:
                await self._leave()
            if ended is not None:
                return self._judged(ended)
            await self._tools.clock.sleep(pause)
            pause = min(_RETRY_MAX_S, pause * 2)

    async def stop(self, signal: int, grace_s: float) -> None:
        """End the job for its owner: the signal, then KILL after `grace_s`. Raises LinkLost, NodeUnreachable."""
        link = await self._agent.link(self._directory)
        try:
            await link.expect("hello", timeout_s=self._tools.timings.verb_s)
            await link.send({"do": "stop", "signal": signal, "grace_s": grace_s})
            self._cancelled = True
            await link.expect("exited", timeout_s=grace_s + self._tools.timings.end_s)
        finally:
            await link.close()

    async def _wait_on_link(self) -> Ended | None:
        link = await self._agent.link(self._directory)
        self._link = link
        hello = await link.expect("hello", timeout_s=self._tools.timings.verb_s)
        await self._reached()
        if hello.get("state") == "exited":
            return await self._ask()
        event = await link.expect("exited", timeout_s=_FOREVER_S)
        # The event is enough; when it happened, and by whose wish, is in the record, unless its disk was full.
        record: dict[str, Any] = {}
        with contextlib.suppress(ExternalError, VerbFailed):
            record = await self._agent.verb("status", self._directory)
        return _ended({**record, **event})

    async def _ask(self) -> Ended | None:
        """By the record on the node. None: no answer, or it still runs."""
        try:
            status = await self._agent.verb("status", self._directory)
            if status.get("state") == "absent":
                await self._unreached("it answers, but has no record of the job: was the node, or its disk, replaced?")
                return None
            await self._reached()
            if status.get("state") == "exited":
                return _ended(status)
            if status.get("launcher_alive"):
                return None
            # Its launcher died with the submission: what is left of the job must not go on unseen.
            fenced = await self._agent.verb("fence", self._directory)
        except (ExternalError, VerbFailed) as error:
            self._agent.forget()
            await self._unreached(str(error))
            return None
        return Ended(Ending.VANISHED, detail=_vanished(status)) if fenced.get("dead") else None

    def _judged(self, ended: Ended) -> Ended:
        if not self._cancelled:
            return ended
        return Ended(Ending.CANCELLED, ended.completion, ended.t, "ended for its owner")

    async def _reached(self) -> None:
        self._silent_since = None
        if self._told:
            self._told = False
            await self._on_reach(None)

    async def _unreached(self, why: str) -> None:
        now = self._tools.clock.boottime()
        if self._silent_since is None:
            self._silent_since = now
        if not self._told and now - self._silent_since >= self._tools.timings.reach_s:
            self._told = True
            await self._on_reach(why)

    async def _leave(self) -> None:
        if self._link is not None:
            await self._link.close()
            self._link = None


def _ended(record: dict[str, Any]) -> Ended:
    completion = Completion(exit_code=record.get("exit_code"), signal=record.get("signal"))
    when = record.get("t")
    if record.get("taken"):
        detail = record.get("detail") or "its launcher was told to end: the node or its Ray went down"
        return Ended(Ending.VANISHED, completion, when, str(detail))
    return Ended(ending_of(completion), completion, when)


def _vanished(status: dict[str, Any]) -> str:
    return f"its launcher is gone (it was {status.get('state')}); a fence left nothing alive"
