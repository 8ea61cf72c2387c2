"""Who acts on decisions: the mover, or one that only writes down what would have been done."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from offloader.engine.remedies import REMEDIES
from offloader.errors import NotFound, Refused
from offloader.jobs.ids import move_id
from offloader.model import Attempt, Job, Mode, Move, MoveState, Obstacle, Reason
from offloader.moves.failures import STOPPERS, stopped_by
from offloader.moves.plan import Bring, MovePlan
from offloader.moves.preflight import Findings
from offloader.moves.starting import RunPlan

__all__ = ["Actuator", "RecordingActuator", "Rehearse"]

_KEPT = 100

Examine = Callable[[MovePlan, Move], Awaitable[tuple[MovePlan, Findings]]]
Rehearse = Callable[[MovePlan], Awaitable[tuple[MovePlan, Findings]]]


class Actuator(Protocol):
    """The one door through which a process is acted on (moves.mover.Mover)."""

    async def start(self, plan: MovePlan) -> Move:
        """Journal the move and let it run; returns at once. Raises Refused, JournalError."""

    async def cancel(self, move_id: str, *, by_uid: int) -> Move:
        """Roll back, or end the job. Raises NotFound, Refused."""

    async def bring(self, job_id: str, wish: Bring) -> Move:
        """Move a job in our care on, or home. Raises NotFound, Refused, NodeUnreachable, VerbFailed, JournalError."""

    async def run(self, plan: RunPlan) -> Job:
        """Start a job that has no original. Raises Refused, NotPermitted, JournalError."""

    async def end(self, job_id: str) -> None:
        """End a job. Raises Refused."""

    def output(self, attempt: Attempt, *, offset: int, follow: bool, stream: int) -> AsyncIterator[bytes]:
        """What an attempt wrote."""

    async def withdraw(self, move_id: str, reason: Reason, detail: str, *, untouched: bool = False) -> bool:
        """Roll back a move that has not passed ownership, or (`untouched`) whose original was not touched yet.

        False: too late, nothing was done.
        """

    async def disable(self, ceiling: Mode) -> None:
        """Roll back automatic moves that are not committed and that this ceiling does not allow."""

    async def stop_all(self, detail: str) -> None:
        """The kill-switch: roll back every move that is not committed."""

    async def recover(self) -> None:
        """Take up what a predecessor left."""

    async def close(self) -> None:
        """End in the middle of anything."""

    def logs(self, move_id: str, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """The job's output."""


class RecordingActuator:
    """Takes plans and does nothing: for observe, advise, dry runs and trials. Nothing it is given ever moves."""

    def __init__(self, now: Callable[[], float], examine: Examine) -> None:
        """Args: examine: the hand-off's own preflight."""
        self._now = now
        self._examine = examine
        self.plans: deque[MovePlan] = deque(maxlen=_KEPT)

    async def start(self, plan: MovePlan) -> Move:
        """The move as it would begin; it is written down nowhere."""
        self.plans.append(plan)
        now, leader = self._now(), plan.candidate.leader
        return Move(
            id=move_id(now, leader.pid),
            job="dry-run",
            from_epoch=0,
            to_epoch=1,
            identity=leader.identity,
            source=plan.candidate.node,
            target=plan.target,
            strategy=plan.strategy,
            backend=plan.backend,
            state=MoveState.PLANNED,
            requested_by=plan.requested_by,
            automatic=plan.automatic,
            rule=plan.rule,
            created_t=now,
            updated_t=now,
            approved_by=plan.approved_by,
        )

    async def rehearse(self, plan: MovePlan) -> tuple[MovePlan, Findings]:
        """The first step of the move, which touches nothing: by which strategy, what would stop it or travel."""
        move = await self.start(plan)
        try:
            return await self._examine(plan, move)
        except STOPPERS as error:
            stopped = stopped_by(error, "preflight")
            return plan, Findings({}, (Obstacle(stopped.reason, stopped.detail, REMEDIES.get(stopped.reason, "")),))

    async def cancel(self, move_id: str, *, by_uid: int) -> Move:
        """There is never anything to cancel."""
        raise NotFound(f"there is no move {move_id}: this controller only records (uid {by_uid} asked)")

    async def bring(self, job_id: str, wish: Bring) -> Move:
        """Nothing is in its care."""
        raise NotFound(f"there is no job {job_id} to bring to {wish.target}: this controller only records")

    async def run(self, plan: RunPlan) -> Job:
        """Nothing is started."""
        raise Refused(Reason.DISABLED, f"this controller only records: {plan.name} is not started")

    async def end(self, job_id: str) -> None:
        """Nothing runs."""
        raise NotFound(f"there is no job {job_id}: this controller only records")

    def output(self, attempt: Attempt, *, offset: int, follow: bool, stream: int) -> AsyncIterator[bytes]:
        """Nothing ran."""
        raise NotFound(f"job {attempt.job}: this controller only records ({stream}, {offset}, {follow})")

    async def withdraw(self, move_id: str, reason: Reason, detail: str, *, untouched: bool = False) -> bool:
        """Nothing runs."""
        _ = move_id, reason, detail, untouched
        return False

    async def disable(self, ceiling: Mode) -> None:
        """Nothing runs."""

    async def stop_all(self, detail: str) -> None:
        """Nothing runs."""

    async def recover(self) -> None:
        """Nothing was left."""

    async def close(self) -> None:
        """Nothing is held."""

    def logs(self, move_id: str, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """Nothing ran."""
        raise NotFound(f"there is no move {move_id}: this controller only records (from {offset}, follow {follow})")
