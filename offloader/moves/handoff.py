"""One hand-off, in its one order; every state is journalled before the step that it allows (safety.md, Hand-off)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from offloader.errors import JournalError
from offloader.model import Move, MoveState, Obstacle, Reason, Reservation, ReservationKind
from offloader.moves import origin, terminals
from offloader.moves.capsule import compose
from offloader.moves.failures import STOPPERS, Stopped, stopped_by
from offloader.moves.in_flight import InFlight
from offloader.moves.original import Original
from offloader.moves.plan import MovePlan
from offloader.moves.preflight import Findings
from offloader.moves.rollback import roll_back
from offloader.moves.submitted import LOCAL, Submitted
from offloader.moves.tools import Tools

__all__ = ["Handoff"]

log = logging.getLogger(__name__)


class Handoff(InFlight):
    """Carries one move from *planned* to *done*, or back."""

    def __init__(self, move: Move, tools: Tools) -> None:
        super().__init__(move, tools)
        self._doing = "planning"
        self._forward: asyncio.Task[None] | None = None
        self._interruption: Stopped | None = None
        self._irrevocable = move.state in (MoveState.OWNING, MoveState.OWNED, MoveState.ENDED, MoveState.DONE)
        self._touched = False  # the original is being frozen, or asked to save
        self._frozen_at = 0.0  # or ended, having saved
        self._downtime_s: float | None = None  # from the freeze to the successor's first instruction

    def interrupt(self, reason: Reason, detail: str, *, untouched: bool = False) -> bool:
        """Ask for a roll-back. False: too late, ownership is being passed or was passed.

        Args:
            reason: why.
            detail: the same in words.
            untouched: only while nothing has been done to the original yet.
        """
        if self._irrevocable or self.move.state.final or (untouched and self._touched):
            return False
        self._interruption = Stopped(reason, detail)
        if self._forward is not None:
            self._forward.cancel()
        return True

    async def run(self, plan: MovePlan) -> Move:
        """The whole way. Returns the move in a final state; never raises for what a roll-back answers."""
        return await self._carried(lambda: self._all_of(plan))

    async def resume(self) -> Move:
        """After a restart of the controller: finish what had passed ownership, roll back the rest (Hand-off 9)."""
        self._doing = "recovery"
        self.successor.may_have_been_let_go()
        if self.move.state.final:
            return self.move
        if self._irrevocable:
            return await self._carried(self._finish)
        return await self._back(Stopped(Reason.CONTROLLER_RESTARTED, "the controller was restarted during the move"))

    async def _carried(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Move:
        self._forward = asyncio.create_task(work(), name=f"hand-off {self.move.id}")
        if self._interruption is not None:
            self._forward.cancel()
        try:
            await asyncio.shield(self._forward)
        except asyncio.CancelledError:
            if self._interruption is None:
                self._forward.cancel()
                raise
            return await self._back(self._interruption)
        except Exception as error:  # the move's own boundary: whatever it was, the original must not stay behind
            if not isinstance(error, STOPPERS):
                # Where, but not its text: it may hold anything, environments too.
                log.warning("%s: %s\n%s", self.move.id, self._doing, "".join(traceback.format_tb(error.__traceback__)))
                if self._irrevocable:
                    raise
            return await self._back(stopped_by(error, self._doing))
        finally:
            await self.leave()
        return self.move

    async def _all_of(self, plan: MovePlan) -> None:
        plan, found = await self._preflight(plan)
        strategy = self.tools.strategies[plan.strategy]
        self._reserve(plan)
        self._doing = "copying its working directory"
        await self.carrying.copy(self.move.to_epoch)
        self._refuse(await self.tools.preflight.arrived(plan, self.move, found))
        await self._hold(await self._submit(plan))
        await self._arm(plan)
        original = Original(self.guard, self.tools.timings, self.imaging, found.copiers, self._yielded)
        if strategy.copies:
            self._doing = "making way for an image"
            await original.ready_to_copy()
        if strategy.freezes:
            await self._freeze()
        else:
            self._touched = True
            self._may_be_run_again()
        self._doing = "saving the original's state"
        self._may_go_on()
        saved = await strategy.save(original, plan.candidate)
        if not strategy.freezes:
            self._frozen_at = self.tools.clock.boottime()
        await self.carrying.catch_up(self.move.to_epoch)
        copied = original.copied
        self.to(MoveState.SAVED, detail=saved, **({"bytes_moved": copied.pages} if copied is not None else {}))
        await self._go(strategy.settle_s(plan.candidate.age_s), copied.image if copied is not None else None)
        self._commit_to_owning()
        await self._finish()

    async def _preflight(self, plan: MovePlan) -> tuple[MovePlan, Findings]:
        """Returns the plan by the strategy that it is carried out by."""
        self._doing = "preflight"
        plan, found = await self.tools.preflight.best(plan, self.move)
        self._refuse(found.obstacles)
        self.carrying.expect(found.staged)
        staged = [found.staged.root] if found.staged else []
        state_in = self.tools.strategies[plan.strategy].state_in(plan.candidate, found.capture)
        copy = found.copiers
        part = compose(found.capture, self.move, plan, found.shared, state_in=state_in, staged=staged, copy=copy)
        capsule = json.dumps(part).encode()
        if copy is not None and copy.terminal is not None:
            terminals.remember(self.tools.store, self.move, copy.terminal)
        self.tools.store.set_fact(self.move.id, origin.FACT, origin.of(plan.candidate, found.capture).document())
        if self.move.from_epoch == 0:  # from where it was brought since, its files are others' names for the same
            self.tools.capsules.put(self.move.job, capsule)
        await self.successor.place(capsule)
        passed = "; ".join(found.notes) if plan.strategy is not self.move.strategy else ""
        self.to(MoveState.PREFLIGHTED, strategy=plan.strategy, detail=passed)
        return plan, found

    async def _yielded(self, terminal: terminals.Kept) -> dict[str, Any]:
        return await terminals.yielded(self.tools.agents[self.move.source], terminal, self.move.id)

    def _refuse(self, obstacles: tuple[Obstacle, ...]) -> None:
        if obstacles:
            sentences = "; ".join(f"{one.seen} ({one.remedy})" if one.remedy else one.seen for one in obstacles)
            raise Stopped(obstacles[0].reason, sentences)

    def _reserve(self, plan: MovePlan) -> None:
        self._doing = "reserving capacity"
        if self.move.backend != LOCAL:  # a job that comes home finds the place that it had there
            reservation = Reservation(
                id=self.move.id,
                node=self.move.target,
                amount=plan.candidate.needs,
                holder=self.move.id,
                kind=ReservationKind.MOVE,
                created_t=self.tools.clock.time(),
            )
            self.tools.store.reserve(reservation, plan.available)
        self.to(MoveState.RESERVED)

    async def _submit(self, plan: MovePlan) -> Submitted:
        self._doing = f"submitting to {self.move.backend}"
        local = self.move.backend == LOCAL
        submission = None if local else f"{self.move.job}-{self.move.to_epoch}"
        backend = None if local else self.tools.backends[self.move.backend]
        agent = self.tools.agents[self.move.target]
        submitted = Submitted(submission, backend, agent, self.successor, plan.candidate.needs)
        self._may_go_on()
        # Journalled first: a submission that we do not know of could not be revoked.
        self.to(MoveState.QUEUED, submission_id=submission)
        await submitted.begin({"job": self.move.job, "epoch": str(self.move.to_epoch), "move": self.move.id})
        return submitted

    async def _hold(self, submitted: Submitted) -> None:
        self._doing = "waiting for the launcher"
        await self.successor.held(submitted.over)
        self.to(MoveState.HELD)

    async def _arm(self, plan: MovePlan) -> None:
        self._doing = "guarding the original"
        self._may_go_on()
        await self.guard.arm([member.identity for member in plan.candidate.members])

    async def _freeze(self) -> None:
        self._doing = "freezing the original"
        self._may_go_on()
        self._touched = True
        self._frozen_at = self.tools.clock.boottime()
        event = await self.guard.freeze()
        self.to(MoveState.FROZEN, detail=f"{len(event.get('pids', ()))} processes, {event.get('how', '')}")

    def _may_be_run_again(self) -> None:
        """From when it is asked to save: that it goes on from what it saved when it is run again was declared."""
        job = self.tools.store.job(self.move.job)
        assert job is not None
        self.tools.store.save_job(replace(job, restart_safe=True))

    async def _go(self, settle_s: float, image: dict[str, Any] | None) -> None:
        self._doing = "starting the successor"
        self._may_go_on()
        # Journalled first: after a crash right here, a successor may run.
        self.to(MoveState.GO)
        launched = await self.successor.go(settle_s, self.guard.still_frozen, image)
        self._downtime_s = self.tools.clock.boottime() - self._frozen_at
        self._note_pid(launched.get("pid"))
        self._doing = "proving the successor"
        proof = await self.successor.proven(settle_s)
        self.to(MoveState.PROVEN, detail=str(proof.get("how", "")))

    def _commit_to_owning(self) -> None:
        self._doing = "passing ownership"
        self._may_go_on()
        self.to(MoveState.OWNING, downtime_s=self._downtime_s)
        self._irrevocable = True

    async def _finish(self) -> None:
        """From *owning*: from here only answers count, not time."""
        if self.move.state is MoveState.OWNING:
            await self._own()
        if self.move.state is MoveState.OWNED:
            await self._end()
        if self.move.state is MoveState.ENDED:
            stood_still = await self._continue()
            await self.guard.quit()
            await self._surely(MoveState.DONE, **stood_still)

    async def _let_go_on(self) -> None:
        """Once. Raises LinkLost, NodeUnreachable, TimeoutError without an answer."""
        if self.tools.strategies[self.move.strategy].copies:
            await self.successor.go_on()

    async def _continue(self) -> dict[str, float]:
        """What was restored has been waiting for the original's end. Asked until it is answered."""
        if not self.tools.strategies[self.move.strategy].copies:
            return {}
        self._doing = "continuing the successor"
        while True:
            try:
                await self.successor.go_on()
                break
            except STOPPERS as error:
                self._note_unanswered(stopped_by(error, self._doing).detail)
                await self.tools.clock.sleep(self.tools.timings.retry_s)
        frozen = self._frozen_at
        return {"downtime_s": self.tools.clock.boottime() - frozen} if frozen else {}

    async def _own(self) -> None:
        if not await self._holding():
            raise Stopped(Reason.WATCHDOG_LOST, "the original was not held any more when ownership was to pass")
        while True:
            try:
                owned = await self.successor.own()
                break
            except STOPPERS as error:
                self._note_unanswered(stopped_by(error, "own").detail)
                await self.tools.clock.sleep(self.tools.timings.retry_s)
        if not owned:
            await self._again(self.guard.unhold)
            raise Stopped(Reason.LINK_LOST, "the successor had given up before ownership could pass")
        await self._surely(MoveState.OWNED)

    async def _holding(self) -> bool:
        if self.guard.state == "holding":
            return True
        try:
            if self.guard.state == "absent" and not await self.guard.adopt():
                return False
            if self.guard.state != "holding":
                await self.guard.hold()
        except STOPPERS:
            # No durable HOLD was seen; `own` is only ever sent after one, in an earlier life of the controller too.
            return await self._adopted_holding()
        return True

    async def _adopted_holding(self) -> bool:
        await self._again(self.guard.adopt)
        return self.guard.state in ("holding", "gone", "saved")

    async def _end(self) -> None:
        self._doing = "ending the original"
        if self.guard.state == "absent":
            await self._again(self.guard.adopt)
        await self._again(self.guard.end, self._let_go_on)
        await self._surely(MoveState.ENDED)

    async def _again(self, step: Any, meanwhile: Any = None) -> None:
        """Until it is answered: past ownership there is no way back, only waiting for contact.

        `meanwhile` is done once the node has been silent for long: a HOLD is durable, so what is held there never runs
        again, and what was restored need not wait for its end for ever.
        """
        since = self.tools.clock.boottime()
        while True:
            try:
                await step()
            except STOPPERS as error:
                self._note_unanswered(stopped_by(error, self._doing).detail)
                await self.tools.clock.sleep(self.tools.timings.retry_s)
                if meanwhile is not None and self.tools.clock.boottime() - since >= self.tools.timings.reach_s:
                    with contextlib.suppress(*STOPPERS):
                        await meanwhile()
                with contextlib.suppress(*STOPPERS):
                    await self.guard.adopt()
            else:
                return

    def _note_pid(self, pid: int | None) -> None:
        """So that people find the successor on its node."""
        for attempt in self.tools.store.attempts(self.move.job):
            if attempt.epoch == self.move.to_epoch:
                self.tools.store.save_attempt(replace(attempt, pid=pid, started_t=self.tools.clock.time()))

    def _note_unanswered(self, detail: str) -> None:
        with contextlib.suppress(JournalError):
            self.tools.store.set_fact(self.move.id, "unanswered", detail)

    def _may_go_on(self) -> None:
        if self._interruption is not None:  # its cancellation may have been swallowed on the way
            raise self._interruption
        forbidden = self.tools.forbidden(self.move)
        if forbidden is not None:
            raise Stopped(*forbidden)

    async def _surely(self, state: MoveState, **fields: Any) -> None:
        """Past ownership a journal that fails delays; it undoes nothing."""
        while True:
            try:
                self.to(state, **fields)
            except JournalError as error:
                log.warning("%s is %s, not written yet: %s", self.move.id, state, error)
                await self.tools.clock.sleep(self.tools.timings.retry_s)
            else:
                return

    async def _back(self, stopped: Stopped) -> Move:
        await self.imaging.close()
        self.move = await roll_back(self, stopped)
        return self.move
