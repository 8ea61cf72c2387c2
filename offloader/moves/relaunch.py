"""A job starts again from its capsule, as a later attempt: on a worker through a backend, or at its source.

The same protocol as in a hand-off (placed, held, go under a lease, proven, own), less the original: there is none any
more. What fails is confirmed dead before anybody may try once more.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from offloader.errors import ExternalError
from offloader.model import Attempt, AttemptState, Capacity, Completion, Reason, StrategyName
from offloader.moves.brought import brought_by
from offloader.moves.capsule import renewed
from offloader.moves.carrying import Carrying
from offloader.moves.failures import STOPPERS, Stopped, stopped_by
from offloader.moves.persist import surely
from offloader.moves.staging import Staged
from offloader.moves.submitted import LOCAL, Submitted
from offloader.moves.successor import Successor
from offloader.moves.tools import Tools
from offloader.moves.unfenced import remember

__all__ = ["NotStarted", "OnOwning", "Started", "launch", "take_up"]


class NotStarted(Stopped):
    """Nothing runs for the attempt, and nothing ever will.

    Attributes:
        completion: it ran for a moment and ended so by itself; None: its command was not executed.
    """

    def __init__(self, stopped: Stopped, completion: Completion | None) -> None:
        super().__init__(stopped.reason, stopped.detail)
        self.completion = completion


@dataclass(frozen=True, slots=True)
class Started:
    """The attempt's process; `resumed_t`: when the checkpoint was made from which it goes on (Unix seconds)."""

    pid: int | None = None
    resumed_t: float | None = None

    @classmethod
    def told(cls, child: Mapping[str, Any]) -> Started:
        """As a launcher tells it."""
        pid, resumed_t = child.get("pid"), child.get("resumed_t")
        return cls(pid if isinstance(pid, int) else None, float(resumed_t) if resumed_t is not None else None)


OnOwning = Callable[[Started], Awaitable[None]]
"""Writes down, durably, that from now on the attempt may own its work."""


@dataclass(frozen=True, slots=True)
class _Launch:
    """One launch under way."""

    tools: Tools
    attempt: Attempt
    successor: Successor
    needs: Capacity

    async def prove(self, capsule: bytes) -> Started:
        """From *placed* to *proven*. Raises STOPPERS."""
        document = renewed(capsule, self.attempt.epoch, self.attempt.node)
        found = await self.tools.preflight.again(
            document, self._source(), self.attempt.node, backend=self.attempt.backend
        )
        if found.obstacles:
            raise Stopped(found.obstacles[0].reason, "; ".join(one.seen for one in found.obstacles))
        staged = await self._carry(found.staged)
        await self.successor.place(json.dumps({**document, "shared": found.shared, "staged": staged}).encode())
        submitted = self._submitted()
        await submitted.begin({"job": self.attempt.job, "epoch": str(self.attempt.epoch)})
        await self.successor.held(submitted.over)
        settle_s = self._settle_s(document)
        launched = await self.successor.go(settle_s, _nobody_to_tell)
        await self.successor.proven(settle_s)
        return Started.told(launched)

    async def _carry(self, staged: Staged | None) -> list[str]:
        """Nothing of the job runs: what is there now is copied at once. The directories that are."""
        move = brought_by(self.tools.store, self.attempt.job)
        if staged is None or move is None:
            return []
        carrying = Carrying(self.tools, move.id)
        carrying.expect(staged)
        await carrying.copy(self.attempt.epoch)
        await carrying.catch_up(self.attempt.epoch)
        return [staged.root]

    def _source(self) -> str:
        """Where its user had started it, or said `run`: there its files are."""
        attempts = self.tools.store.attempts(self.attempt.job)
        return next((one.node for one in attempts if one.epoch == 0), self.tools.head)

    def _settle_s(self, capsule: Mapping[str, Any]) -> float:
        """There is nothing to prove at its source, nor of a job that `run` starts: what it does is what it does."""
        if self.attempt.backend == LOCAL or not capsule["move"]:
            return 0.0
        return self.tools.strategies[StrategyName.RESTART].settle_s(0.0)

    def _submitted(self) -> Submitted:
        submission, agent = self.attempt.submission_id, self.tools.agents[self.attempt.node]
        backend = self.tools.backends[self.attempt.backend] if submission is not None else None
        return Submitted(submission, backend, agent, self.successor, self.needs)

    async def own(self) -> bool:
        """Until there is an answer: silence says nothing about who owns."""
        while True:
            try:
                return await self.successor.own()
            except STOPPERS:
                await self.tools.clock.sleep(self.tools.timings.retry_s)

    async def not_started(self, stopped: Stopped) -> NotStarted:
        """It is confirmed dead. Its submission has nothing left to run: withdrawn, best effort."""
        one = self.attempt
        if self.successor.presumed_dead:
            await surely(self.tools, "what is to be fenced", remember, self.tools, one.node, one.job, one.epoch)
        if one.submission_id is not None:
            with contextlib.suppress(ExternalError, TimeoutError):
                await self.tools.backends[one.backend].stop(one.submission_id)
        return NotStarted(stopped, await _ran_a_moment(self.tools, one))


async def launch(tools: Tools, attempt: Attempt, capsule: bytes, needs: Capacity, on_owning: OnOwning) -> None:
    """Bring a journalled attempt to life on its node, up to its ownership. Raises NotStarted."""
    under_way = _Launch(tools, attempt, _successor(tools, attempt), needs)
    try:
        try:
            started = await under_way.prove(capsule)
        except STOPPERS as error:
            if await under_way.successor.confirm_dead():
                raise await under_way.not_started(stopped_by(error, "starting it again")) from error
            started = await _started(tools, attempt)
        await on_owning(started)
        if not await under_way.own():
            raise await under_way.not_started(Stopped(Reason.LAUNCH_FAILED, "it gave up before it owned its work"))
    finally:
        await under_way.successor.leave()


async def take_up(tools: Tools, attempt: Attempt) -> Started:
    """After a restart of the controller in the middle of a launch: what runs if it owns its work.

    Raises NotStarted.
    """
    under_way = _Launch(tools, attempt, _successor(tools, attempt), Capacity())
    under_way.successor.may_have_been_let_go()
    interrupted = Stopped(Reason.CONTROLLER_RESTARTED, "the controller was restarted while it was starting it again")
    try:
        if attempt.state is AttemptState.UNKNOWN:
            owns = await under_way.own()
        else:
            owns = not await under_way.successor.confirm_dead()
        if not owns:
            raise await under_way.not_started(interrupted)
    finally:
        await under_way.successor.leave()
    if attempt.pid is not None:
        return Started(attempt.pid, attempt.resumed_t)
    return await _started(tools, attempt)


def _successor(tools: Tools, attempt: Attempt) -> Successor:
    return Successor(tools.agents[attempt.node], attempt.job, attempt.epoch, tools.timings, tools.clock)


async def _ran_a_moment(tools: Tools, attempt: Attempt) -> Completion | None:
    """The exit code or signal of a job that ended by itself before it owned its work."""
    record = await _record(tools, attempt)
    if record.get("state") != "failed":
        return None
    completion = Completion(record.get("exit_code"), record.get("signal"))
    return None if completion == Completion() else completion


async def _record(tools: Tools, attempt: Attempt) -> dict[str, Any]:
    """What its node remembers of it, nothing where it cannot be asked now."""
    agent = tools.agents[attempt.node]
    with contextlib.suppress(*STOPPERS):
        status = await agent.verb("status", agent.attempt_dir(attempt.job, attempt.epoch))
        return dict(status)
    return {}


async def _started(tools: Tools, attempt: Attempt) -> Started:
    return Started.told((await _record(tools, attempt)).get("child") or {})


async def _nobody_to_tell() -> None:
    """No original is frozen for it."""
