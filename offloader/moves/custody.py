"""One job from the end of its hand-off to its own: followed, and started again where that is safe.

What follows from an ending is decided by jobs.aftermath and journalled together with it before anything is done, so
that a controller that dies at any point goes on from there.
"""

from __future__ import annotations

import logging
import signal
from dataclasses import replace

from offloader.errors import JournalError
from offloader.jobs.aftermath import ORIGINAL, Circumstances, Ending, Step, ending_of, following, launches, tries
from offloader.model import Attempt, AttemptState, Completion, Job, JobState, Move, MoveState, StrategyName
from offloader.moves.carrying import bring_results
from offloader.moves.failures import STOPPERS
from offloader.moves.follow import Ended, Follower
from offloader.moves.incidents import IncidentKind
from offloader.moves.late import LateSaver
from offloader.moves.origin import Origin
from offloader.moves.persist import surely
from offloader.moves.restarting import Restarting, Spawn
from offloader.moves.submitted import LOCAL
from offloader.moves.ties import Ties
from offloader.moves.tools import Tools
from offloader.moves.ward import Ward

__all__ = ["STOP_GRACE_S", "Custody"]

log = logging.getLogger(__name__)

STOP_GRACE_S = 10.0
"""From TERM to KILL when an owner cancels his job."""

_OPEN = (JobState.RUNNING, JobState.UNKNOWN)
_OVER = {
    Step.SUCCEED: JobState.SUCCEEDED,
    Step.FAIL: JobState.FAILED,
    Step.CANCEL: JobState.CANCELLED,
    Step.LOSE: JobState.LOST,
}


class Custody:
    """Cares for one job whose newest attempt is ours."""

    def __init__(self, job: Job, move: Move | None, tools: Tools, spawn: Spawn, ties: Ties) -> None:
        """Args: move: the job's newest one, over; None: it was started by `run`."""
        self._ward = Ward(job, move, tools)
        self._tools = tools
        self._spawn = spawn
        self._ties = ties
        self._restarting = Restarting(self._ward, spawn)
        self._follower: Follower | None = None

    async def run(self) -> Job:
        """Until the job is over. Returns it in its final state, or as unknown when its node is not known any more."""
        while self._ward.job.state in _OPEN:
            try:
                attempt = self._ward.present
                if attempt.node and attempt.node not in self._tools.agents:
                    await self._out_of_reach(f"{attempt.node} is not in the cluster file any more")
                    return self._ward.job
                ended = await self._live(attempt)
                if ended is not None:
                    attempt = self._ward.present
                    await bring_results(self._ward, attempt.epoch, began=ended.ending is not Ending.NOT_STARTED)
                    await self._conclude(attempt, ended)
            except JournalError as error:  # everything above goes on from what the journal says: once more
                log.warning("%s waits for the journal: %s", self._ward.job.id, error)
                await self._tools.clock.sleep(self._tools.timings.retry_s)
        moves = await surely(
            self._tools, f"the end of {self._ward.name}", self._tools.store.moves_of_job, self._ward.job.id
        )
        for holder in (self._ward.job.id, *(move.id for move in moves)):
            await surely(self._tools, f"the end of {self._ward.name}", self._tools.store.release, holder)
        return self._ward.job

    async def stop(self) -> None:
        """End the job for its owner: asked until its node has heard; what is not running yet is not started again."""
        self._ward.cancelled = True
        while (follower := self._follower) is not None:
            try:
                await follower.stop(signal.SIGTERM, STOP_GRACE_S)
            except STOPPERS as error:
                log.warning("%s cannot be ended yet: %s", self._ward.name, error)
                await self._tools.clock.sleep(self._tools.timings.retry_s)
            else:
                return

    @property
    def followed(self) -> Attempt | None:
        """The attempt that runs, as far as we know, and is wanted; None: it is being started, or ended."""
        return self._ward.present if self._follower is not None and not self._ward.cancelled else None

    async def _live(self, attempt: Attempt) -> Ended | None:
        """How the attempt ended; None: it runs now, look again."""
        if attempt.state is AttemptState.PENDING:
            words = f"it starts again, without a terminal: grid-offloader attach {self._ward.id}"
            await self._ties.over(self._ward.job.id, Completion(), words=words, output=False)
        match attempt.state:
            case AttemptState.RUNNING if attempt.backend == ORIGINAL:
                assert self._ward.move is not None, "an original was asked to save by its move"
                return await LateSaver(self._ward.move, self._tools).run()
            case AttemptState.RUNNING:
                return await self._follow(attempt)
            case AttemptState.ENDED:
                return Ended(ending_of(attempt.completion), attempt.completion, attempt.ended_t)
            case AttemptState.PENDING if not attempt.node:
                return await self._restarting.start(attempt)
            case _:
                return await self._restarting.take_up(attempt)

    async def _follow(self, attempt: Attempt) -> Ended:
        self._follower = Follower(attempt, self._tools, self._on_reach)
        if self._goes_on(attempt):
            self._ties.follow(attempt)
        try:
            if self._ward.cancelled:
                self._spawn(self.stop(), f"stop {self._ward.id}")
            return await self._follower.run()
        finally:
            self._follower = None

    async def _on_reach(self, why: str | None) -> None:
        if why is not None:
            await self._out_of_reach(why)
            return
        await self._ward.save_job(replace(self._ward.job, state=JobState.RUNNING))
        self._ward.tell(IncidentKind.WITHIN_REACH, f"the node of {self._ward.name} answers again")

    async def _out_of_reach(self, why: str) -> None:
        await self._ward.save_job(replace(self._ward.job, state=JobState.UNKNOWN))
        words = f"{self._ward.name} may run on a node that cannot be asked, so it is not started again: {why}"
        self._ward.tell(IncidentKind.OUT_OF_REACH, words)

    async def _conclude(self, attempt: Attempt, ended: Ended) -> None:
        """The ending and what follows from it, in one piece of the journal; then those who should know are told."""
        origin, now = self._ward.origin, self._tools.clock.time()
        over_t = ended.t if ended.t is not None else attempt.ended_t or now
        over = replace(attempt, state=AttemptState.ENDED, ended_t=over_t, completion=ended.completion)
        step = self._following(over, ended)
        if self._goes_on(over):
            await self._end_terminal(over, ended, step)
        written = [over]
        if step in _OVER:
            job = replace(self._ward.job, state=_OVER[step], completion=ended.completion)
        else:
            job = replace(self._ward.job, state=JobState.RUNNING)
            backend = LOCAL if step is Step.AGAIN_AT_SOURCE else self._backend()
            epoch = self._ward.attempts()[-1].epoch + 1
            written.append(Attempt(job.id, epoch, "", backend, None, None, AttemptState.PENDING, now))
        await surely(self._tools, f"{job.id} {ended.ending}", self._tools.store.settle, job, written)
        self._ward.job = job
        if job.state not in (*_OPEN, JobState.LOST):
            self._tools.capsules.drop(job.id)
        self._tell(over, ended, step, origin)

    async def _end_terminal(self, over: Attempt, ended: Ended, step: Step) -> None:
        """Told before it is written down: a controller that dies in between tells it once more."""
        there = ended.ending is not Ending.VANISHED
        if step is Step.LOSE:
            words = f"lost: it {_words(ended.completion)} on {over.node}"
            await self._ties.over(self._ward.job.id, Completion(), words=words, output=there)
        elif step in _OVER:
            await self._ties.over(self._ward.job.id, ended.completion, output=there)

    def _backend(self) -> str:
        """The one that it was given to last: what came home is with none."""
        given = [one.backend for one in self._ward.attempts()]
        given += [self._ward.move.backend] if self._ward.move is not None else []
        return [backend for backend in given if backend not in (LOCAL, ORIGINAL)][-1]

    def _following(self, over: Attempt, ended: Ended) -> Step:
        if self._ward.cancelled and ended.ending is not Ending.SUCCEEDED:
            return Step.CANCEL
        attempts = (*(one for one in self._ward.attempts() if one.epoch != over.epoch), over)
        at_source, lived_s = over.backend in (LOCAL, ORIGINAL), (over.ended_t or 0.0) - over.started_t
        seen = Circumstances(
            at_source=at_source,
            lived_s=lived_s if over.pid is not None else 0.0,
            restart_safe=self._ward.job.restart_safe and (at_source or self._ward.origin is not None),
            launches=launches(attempts) - max(0, self._live_moves() - 1),  # going on is no further start
            tries=tries(attempts),
            capsule=self._tools.capsules.get(self._ward.job.id) is not None,
            original=any(one.epoch == 0 for one in attempts),
            restored=self._goes_on(over),
        )
        return following(ended.ending, seen)

    def _live_moves(self) -> int:
        return sum(_went_live(move) for move in self._tools.store.moves_of_job(self._ward.job.id))

    def _goes_on(self, attempt: Attempt) -> bool:
        """Whether it is one that was restored where it is: its terminal, too, if it has one."""
        moves = self._tools.store.moves_of_job(self._ward.job.id)
        return any(move.to_epoch == attempt.epoch and _went_live(move) for move in moves)

    def _tell(self, over: Attempt, ended: Ended, step: Step, origin: Origin | None) -> None:
        how = f"{_words(ended.completion)} on {over.node or 'no node'}{f' ({ended.detail})' if ended.detail else ''}"
        if step is Step.LOSE:
            why = "" if self._ward.job.restart_safe else "; that running it again is harmless was not declared"
            self._ward.tell(IncidentKind.LOST, f"{self._ward.name} is lost: it {how}{why}")
        elif ended.ending is Ending.FAILED and step is Step.AGAIN_AT_SOURCE:
            words = f"{self._ward.name} {how}, soon after it was started there: it starts again at its source"
            self._ward.tell(IncidentKind.FAILED_EARLY, words, quarantine=origin.name if origin else None)
        elif ended.ending is Ending.NOT_STARTED and step is Step.FAIL:
            self._ward.tell(IncidentKind.NOT_STARTED, f"{self._ward.name} never ran: {ended.detail}")
        else:
            log.info("%s %s: %s", self._ward.name, how, step)


def _went_live(move: Move) -> bool:
    return move.strategy is StrategyName.LIVE and move.state is MoveState.DONE


def _words(completion: Completion) -> str:
    if completion.exit_code is not None:
        return f"ended with exit code {completion.exit_code}"
    return f"was ended by signal {completion.signal}" if completion.signal is not None else "vanished"
