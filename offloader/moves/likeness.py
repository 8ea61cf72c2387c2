"""Preflight of a live move: whether criu works on both nodes, whether they are alike, and what the job has open.

What each node says is compared by the launcher's own rules (launcher/criu/obstacles.py), here, because only here both
answers are known. Nothing of this touches the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.launcher.criu import obstacles
from offloader.model import Obstacle, Reason
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.original import Copiers
from offloader.ports import Clock

__all__ = ["Likeness"]

_GOOD_S, _BAD_S = 600.0, 60.0
"""For how long a node's report is believed: asking dumps and restores a small process there, which takes a second."""

_REPORT_S = 30.0

Document = dict[str, Any]


class Likeness:
    """Asks the launchers of both nodes; remembers their reports for a while."""

    def __init__(self, agents: Mapping[str, Agent], clock: Clock) -> None:
        self._agents = agents
        self._clock = clock
        self._reports: dict[str, tuple[float, Document]] = {}
        self._watching: list[asyncio.Task[None]] = []

    def watch(self, node: str) -> None:
        """Keep that node's report fresh, beside."""
        self._watching.append(asyncio.create_task(self._watch(node), name=f"criu on {node}"))

    def usable(self, node: str) -> bool:
        """Whether criu worked there when it was asked last."""
        return node in self._reports and bool(self._reports[node][1].get("usable"))

    async def close(self) -> None:
        """Stop watching. Never raises."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def examine(
        self, pids: Sequence[int], source: str, target: str, shared: Sequence[Sequence[int]], allowed: obstacles.Allowed
    ) -> tuple[tuple[Obstacle, ...], Copiers | None]:
        """Everything in the way of copying these processes, the leader first; and by what they would be copied.

        Args:
            pids: the job's.
            source: where they run.
            target: where they would go on.
            shared: file systems that both nodes see: device number at the source, at the target.
            allowed: what need not be as it was.

        Raises:
            VerbFailed, NodeUnreachable: of the source. What the target does not say is an obstacle.
        """
        here = await self._report(source)
        try:
            there = await self._report(target)
            unlike = obstacles.unlike(here, there)
            if unlike:
                return _all(unlike), None
            estate = await self._estate(source, pids)
            keeper = self._agents[target]
            offer = await keeper.verb("offer", keeper.node.state_dir, stdin=json.dumps(estate).encode())
        except _AtSource as error:
            raise error.cause from None
        except NodeUnreachable as error:
            return (Obstacle(Reason.TARGET_DOWN, str(error)),), None
        except VerbFailed as error:
            return (Obstacle(Reason.NO_CRIU, f"{target}: {error}"),), None
        pairs = frozenset((int(one), int(other)) for one, other in shared)
        found = [*obstacles.accounts(estate, here), *obstacles.between(estate, offer, pairs, allowed)]
        return _all(found), Copiers(str(here["path"]), str(there["path"]), tcp_close=allowed.close_connections)

    async def _report(self, node: str) -> Document:
        known = self._reports.get(node)
        if known is not None and self._clock.boottime() < known[0]:
            return known[1]
        agent = self._agents[node]
        given = (agent.node.criu,) if agent.node.criu else ()
        report: Document = await agent.verb("criu", *given, timeout_s=_REPORT_S)
        until = self._clock.boottime() + (_GOOD_S if report.get("usable") else _BAD_S)
        self._reports[node] = (until, report)
        return report

    async def _watch(self, node: str) -> None:
        while True:
            with contextlib.suppress(VerbFailed, NodeUnreachable):
                await self._report(node)
            await self._clock.sleep(_GOOD_S)

    async def _estate(self, source: str, pids: Sequence[int]) -> Document:
        try:
            found: Document = await self._agents[source].verb("estate", *map(str, pids))
        except (VerbFailed, NodeUnreachable) as error:
            raise _AtSource(error) from error
        return found


class _AtSource(Exception):
    """The source says no, or cannot be asked: that is no obstacle of the target's."""

    def __init__(self, cause: VerbFailed | NodeUnreachable) -> None:
        self.cause = cause


def _all(found: Sequence[Document]) -> tuple[Obstacle, ...]:
    return tuple(Obstacle(Reason(one["reason"]), str(one.get("seen", "")), str(one.get("remedy", ""))) for one in found)
