"""All moves of one controller: the only door through which a process is acted on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from offloader.errors import NotFound, Refused
from offloader.jobs.ids import UlidFactory, move_id
from offloader.model import (
    Attempt,
    AttemptState,
    Candidate,
    Capacity,
    Completion,
    Job,
    JobState,
    Mode,
    Move,
    MoveState,
    Reason,
)
from offloader.moves.agent import VerbFailed
from offloader.moves.brought import brought_by, needs_of
from offloader.moves.carrying import Carrying
from offloader.moves.custody import Custody
from offloader.moves.elsewhere import candidate_at
from offloader.moves.handoff import Handoff
from offloader.moves.incidents import Incident, IncidentKind
from offloader.moves.persist import surely
from offloader.moves.plan import Bring, MovePlan
from offloader.moves.respawn import watch
from offloader.moves.retention import forget_the_old
from offloader.moves.settle import settled
from offloader.moves.starting import RunPlan, Starting
from offloader.moves.submitted import LOCAL
from offloader.moves.ties import Ties
from offloader.moves.tools import Place, Tools
from offloader.moves.unfenced import fence_when_they_answer

__all__ = ["Mover"]

_CLOSE_S = 25.0
_ALL = 1_000_000


class Mover:
    """Starts, follows, cancels and recovers moves; each runs as a task of its own beside the ticks."""

    def __init__(self, tools: Tools, *, new_id: UlidFactory) -> None:
        self._tools = tools
        self._starting = Starting(tools, new_id)
        self._new_id = new_id
        self._handoffs: dict[str, Handoff] = {}
        self._custodies: dict[str, Custody] = {}
        self._caring: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ties = Ties(tools, self._spawn)
        self._finished: list[Callable[[Move], None]] = []
        self._ended: list[Callable[[Job], None]] = []
        self._closing = False

    def on_finished(self, callback: Callable[[Move], None]) -> None:
        """Called with every move that reaches a final state: cooldowns start there."""
        self._finished.append(callback)

    def on_job_ended(self, callback: Callable[[Job], None]) -> None:
        """Called with every followed job that ends."""
        self._ended.append(callback)

    async def start(self, plan: MovePlan) -> Move:
        """Journal the move as *planned* and let it run. Returns at once.

        Raises:
            Refused: its process is being moved already, or the controller is shutting down.
            JournalError: it could not be written down, so nothing was done.
        """
        self._refuse_at_the_end()
        pids = {member.pid for member in plan.candidate.members}
        for running in self._handoffs.values():
            if running.move.identity.pid in pids:
                raise Refused(
                    Reason.ALREADY_MOVING, f"process {plan.candidate.leader.pid} is moving: {running.move.id}"
                )
        move = self._create(plan)
        handoff = Handoff(move, self._tools)
        self._handoffs[move.id] = handoff
        self._spawn(self._carry(handoff, lambda: handoff.run(plan)), f"move {move.id}")
        return move

    async def bring(self, job_id: str, wish: Bring) -> Move:
        """Move a job in our care on to another node, or home, live. Journalled as *planned* when this returns.

        Raises:
            NotFound: no such job.
            Refused: it is not running, is being moved, works on a copy of its directory, or is there already; there is
                no room; or the controller is shutting down.
            VerbFailed, NodeUnreachable: its node does not say what runs there.
            JournalError: it could not be written down, so nothing was done.
        """
        self._refuse_at_the_end()
        job, attempt = self._followed(job_id)
        if attempt.node == wish.target:
            raise Refused(Reason.TARGET_NOT_ALLOWED, f"{job.name} runs on {attempt.node} already")
        last = brought_by(self._tools.store, job_id)
        if last is not None and Carrying(self._tools, last.id).copies():
            seen = f"{job.name} works on a copy of its directory on {attempt.node}: that comes home when it ends"
            raise Refused(Reason.NOT_STAGED, seen)
        needs = needs_of(self._tools, job_id)
        candidate = await candidate_at(self._tools.agents[attempt.node], attempt, job, needs)
        job, attempt = self._followed(job_id)  # asking took its time
        plan = wish.plan(candidate, self._room(candidate, wish))
        epoch = self._tools.store.attempts(job_id)[-1].epoch + 1
        move = self._move(plan, job.id, attempt.epoch, epoch)
        there = Attempt(job.id, epoch, move.target, plan.backend, None, None, AttemptState.PENDING, move.created_t)
        self._tools.store.create(job, (there,), move)
        handoff = Handoff(move, self._tools)
        self._handoffs[move.id] = handoff
        self._spawn(self._carry(handoff, lambda: self._handed_over(job_id, handoff, plan)), f"move {move.id}")
        return move

    def _room(self, candidate: Candidate, wish: Bring) -> Capacity:
        """What the target offers; home nothing is asked for. Raises Refused."""
        if wish.backend == LOCAL:
            return Capacity()
        place = self._tools.placer(
            candidate.node, candidate.usage, candidate.needs, avoid=frozenset(), only=wish.target
        )
        if not isinstance(place, Place):
            raise Refused(place.reason, f"{wish.target} cannot take it: {place.seen}", (place,))
        return place.available

    def _followed(self, job_id: str) -> tuple[Job, Attempt]:
        """A job that runs in our care, with the attempt that does. Raises NotFound, Refused."""
        job, custody = self._tools.store.job(job_id), self._custodies.get(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}: `grid-offloader status` lists them")
        if any(one.move.job == job_id for one in self._handoffs.values()):
            raise Refused(Reason.ALREADY_MOVING, f"{job.name} is being moved")
        attempt = custody.followed if custody is not None else None
        if attempt is None or attempt.node not in self._tools.agents:
            raise Refused(Reason.NO_SUCH_PROCESS, f"{job.name} does not run in the controller's care now")
        return job, attempt

    async def _handed_over(self, job_id: str, handoff: Handoff, plan: MovePlan) -> Move:
        """Nobody follows it while it is handed on: that its launcher's work ends then is the move's own doing."""
        caring = self._caring.get(job_id)
        if caring is not None:
            caring.cancel()
            await asyncio.gather(caring, return_exceptions=True)
        return await handoff.run(plan)

    async def run(self, plan: RunPlan) -> Job:
        """Start a job that has no original. Returns as soon as it is written down. Raises as Starting.create does."""
        self._refuse_at_the_end()
        job = await self._starting.create(plan)
        if not self._closing:  # else the next controller finds it in the journal
            self._take(job, None)
        return job

    def _refuse_at_the_end(self) -> None:
        if self._closing:
            raise Refused(Reason.DISABLED, "the controller is shutting down: try again when it is up")

    async def cancel(self, move_id: str, *, by_uid: int) -> Move:
        """Before ownership: roll back. After: end the job for its owner. Raises NotFound, Refused."""
        move = self._tools.store.move(move_id)
        if move is None:
            raise NotFound(f"there is no move {move_id}: `grid-offloader status` lists them")
        handoff = self._handoffs.get(move_id)
        if handoff is not None and handoff.interrupt(Reason.CANCELLED, f"cancelled by uid {by_uid}"):
            return handoff.move
        custody = self._custodies.get(move.job)
        if custody is not None:
            if move.state is MoveState.ROLLED_BACK and move.from_epoch > 0:
                seen = f"{move_id} is over (rolled back), and its job goes on: to end that, `cancel {move.job}`"
                raise Refused(Reason.NO_SUCH_PROCESS, seen)
            self._spawn(custody.stop(), f"stop {move_id}")
            return move
        if handoff is not None:
            raise Refused(Reason.ALREADY_MOVING, "ownership is just being passed: cancel again in a moment")
        raise Refused(Reason.NO_SUCH_PROCESS, f"{move_id} is over ({move.state}): there is nothing to cancel")

    async def end(self, job_id: str) -> None:
        """End a job in our care for its owner. Raises Refused: it is over, or its original runs on at its source."""
        custody = self._custodies.get(job_id)
        if custody is None:
            raise Refused(Reason.NO_SUCH_PROCESS, f"job {job_id} is not running in the controller's care")
        self._spawn(custody.stop(), f"stop {job_id}")

    async def withdraw(self, move_id: str, reason: Reason, detail: str, *, untouched: bool = False) -> bool:
        """Roll back a move before ownership. False: too late, and unlike after `cancel` its job is left alone.

        `untouched`: only while nothing has been done to its original yet.
        """
        handoff = self._handoffs.get(move_id)
        return handoff is not None and handoff.interrupt(reason, detail, untouched=untouched)

    async def disable(self, ceiling: Mode) -> None:
        """The ceiling was lowered: moves that it does not allow and that have not passed ownership are rolled back."""
        for handoff in tuple(self._handoffs.values()):
            if not ceiling.allows(handoff.move.least_ceiling):
                handoff.interrupt(Reason.DISABLED, f"the ceiling is {ceiling}: automatic moves were disabled")

    async def stop_all(self, detail: str) -> None:
        """The kill-switch: every move that has not passed ownership is rolled back, manual ones too."""
        for handoff in tuple(self._handoffs.values()):
            handoff.interrupt(Reason.KILL_SWITCH, detail)

    async def recover(self) -> None:
        """At start: take up every move that the journal holds unfinished, and every job whose end is still to come."""
        store = self._tools.store
        for move in await surely(self._tools, "recovery", store.moves, active=True, limit=_ALL):
            if self._reaches(move, move.source, move.target):
                handoff = Handoff(move, self._tools)
                self._handoffs[move.id] = handoff
                self._spawn(self._carry(handoff, handoff.resume), f"recover {move.id}")
        for job in await surely(self._tools, "recovery", store.followed_jobs):
            last = await surely(self._tools, "recovery", store.move_of_job, job.id)
            if last is None:
                self._take(job, None)
            elif last.state.final:
                await self._settle(last)
                for move in await surely(self._tools, "recovery", store.moves_of_job, job.id):
                    await surely(self._tools, "recovery", store.release, move.id)
        lately = self._tools.clock.time() - self._tools.timings.respawn_s
        for move in await surely(self._tools, "recovery", store.moves, active=False, since=lately, limit=_ALL):
            if move.source == self._tools.head and (move.state is MoveState.DONE or move.job in self._custodies):
                self._spawn(watch(self._tools, move), f"respawn watch {move.id}")
            await self._remind(await surely(self._tools, "recovery", store.job, move.job), move)
        self._spawn(forget_the_old(self._tools), "forget the old")
        self._spawn(fence_when_they_answer(self._tools), "fence when they answer")

    async def _remind(self, job: Job | None, move: Move) -> None:
        """Of what is over: whoever keeps the job's terminal may not have heard so."""
        if job is not None and job.state not in (JobState.RUNNING, JobState.UNKNOWN):
            await self._ties.remind(job.id, job.completion if job.state is not JobState.LOST else Completion())
        elif move.state is MoveState.ROLLED_BACK:
            await self._ties.stays(move)

    def _reaches(self, move: Move, *nodes: str) -> bool:
        """Whether all of these nodes are in the cluster file; a move that needs another one waits for it to be back."""
        missing = [node for node in nodes if node not in self._tools.agents]
        if missing:
            words = (
                f"{move.id} is {move.state} and cannot go on: {', '.join(missing)} is not in the cluster file any more"
            )
            self._tools.on_incident(Incident(IncidentKind.OUT_OF_REACH, move.job, move.id, words))
        return not missing

    async def close(self) -> None:
        """Roll back what can be, finish what must be, within a deadline; guards and recovery have the rest."""
        self._closing = True
        for handoff in tuple(self._handoffs.values()):
            handoff.interrupt(Reason.CONTROLLER_RESTARTED, "the controller was stopped during the move")
        moving = [task for task in self._tasks if task.get_name().startswith(("move ", "recover "))]
        if moving:
            await asyncio.wait(moving, timeout=_CLOSE_S)
        rest = tuple(self._tasks)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def logs(self, move_id: str, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """The moved job's output from `offset` on, in chunks. Raises NotFound, NodeUnreachable."""
        move = self._tools.store.move(move_id)
        if move is None:
            raise NotFound(f"there is no move {move_id}: `grid-offloader status` lists them")
        ran = [one for one in self._tools.store.attempts(move.job) if one.epoch >= move.to_epoch and one.node]
        async for chunk in self.output(ran[-1], offset=offset, follow=follow, stream=1):
            yield chunk

    async def output(self, attempt: Attempt, *, offset: int, follow: bool, stream: int) -> AsyncIterator[bytes]:
        """What one attempt wrote, from `offset` on. Raises NotFound (its node has nothing of it), NodeUnreachable."""
        agent = self._tools.agents.get(attempt.node)
        if agent is None:
            raise NotFound(f"{attempt.node or 'the worker'} is not in the cluster file any more")
        directory = agent.attempt_dir(attempt.job, attempt.epoch)
        try:
            async for chunk in agent.log(directory, offset=offset, follow=follow, stream=stream):
                yield chunk
        except VerbFailed as error:
            raise NotFound(f"{attempt.node} has no output of it: {error.detail}") from error

    def _create(self, plan: MovePlan) -> Move:
        now = self._tools.clock.time()
        leader = plan.candidate.leader
        job = Job(
            id=self._new_id(),
            user=leader.user,
            uid=leader.identity.uid,
            name=leader.name,
            created_t=now,
            restart_safe=plan.candidate.restart_safe,
        )
        move = self._move(plan, job.id, 0, 1)
        here = Attempt(job.id, 0, move.source, "local", None, leader.pid, AttemptState.RUNNING, now - leader.age_s)
        there = Attempt(job.id, 1, move.target, plan.backend, None, None, AttemptState.PENDING, now)
        self._tools.store.create(job, (here, there), move)
        return move

    def _unused_id(self, t: float, pid: int) -> str:
        """One that was refused at once may be asked for again within the same second."""
        while self._tools.store.move(move_id(t, pid)) is not None:
            t += 1.0
        return move_id(t, pid)

    def _move(self, plan: MovePlan, job_id: str, from_epoch: int, to_epoch: int) -> Move:
        now, leader = self._tools.clock.time(), plan.candidate.leader
        return Move(
            id=self._unused_id(now, leader.pid),
            job=job_id,
            from_epoch=from_epoch,
            to_epoch=to_epoch,
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

    async def _carry(self, handoff: Handoff, work: Callable[[], Awaitable[Move]]) -> None:
        try:
            move = await work()
        finally:
            self._handoffs.pop(handoff.move.id, None)
        await self._settle(move)
        if move.state is MoveState.DONE:
            self._spawn(self._release_later(move), f"release {move.id}")
        # The original was ended, by the move or by its roll-back. Elsewhere nobody else had started it.
        if move.source == self._tools.head and move.job in self._custodies:
            self._spawn(watch(self._tools, move), f"respawn watch {move.id}")
        for callback in self._finished:
            callback(move)

    async def _settle(self, move: Move) -> None:
        """Bring job and attempts into line with how the move ended, and care for the job from there on."""
        store, now = self._tools.store, self._tools.clock.time()
        job = await surely(self._tools, move.id, store.job, move.job)
        attempts = await surely(self._tools, move.id, store.attempts, move.job)
        if job is None or job.id in self._custodies:
            return
        now_so = settled(move, job, attempts, now)
        if now_so.job.state is JobState.LOST and not now_so.cared_for:
            await self._ties.over(job.id, Completion(), words=f"lost: {move.detail}", output=False)
        elif not now_so.cared_for:
            await self._ties.stays(move)
        await surely(self._tools, f"the end of {move.id}", store.settle, now_so.job, now_so.changed)
        if now_so.cared_for:
            self._take(now_so.job, await surely(self._tools, move.id, brought_by, store, job.id))
        elif now_so.job.state is JobState.UNKNOWN:
            self._tools.capsules.drop(job.id)
        elif now_so.job.state is JobState.LOST:
            words = f"{job.name} of {job.user} ({move.id}) is lost: {move.reason}"
            self._tools.on_incident(Incident(IncidentKind.LOST, job.id, move.id, words))

    def _take(self, job: Job, move: Move | None) -> None:
        """Care for it from here on."""
        custody = Custody(job, move, self._tools, self._spawn, self._ties)
        self._custodies[job.id] = custody
        self._caring[job.id] = self._spawn(
            self._care(custody, job.id), f"follow {move.id if move is not None else job.id}"
        )

    async def _care(self, custody: Custody, job_id: str) -> None:
        try:
            job = await custody.run()
        finally:
            self._custodies.pop(job_id, None)
            self._caring.pop(job_id, None)
        for callback in self._ended:
            callback(job)

    async def _release_later(self, move: Move) -> None:
        """Until Prometheus shows the moved load at the target, the ledger keeps its place."""
        await self._tools.clock.sleep(self._tools.timings.reservation_lag_s)
        await surely(self._tools, f"{move.id} is over", self._tools.store.release, move.id)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{task.get_name()} failed", "exception": error, "task": task}
            )
