"""After *done*: a job on its worker, followed until it ends, over lost connections and restarts of the controller."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from offloader.errors import ExternalError
from offloader.model import Attempt, AttemptState, Completion, Job, JobState
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.link import Link, LinkLost
from offloader.moves.tools import Tools

__all__ = ["Follower"]

_RETRY_S = 1.0
_RETRY_MAX_S = 15.0


class Follower:
    """Follows one attempt. What cannot be known stays unknown: a worker out of reach has not lost its job yet."""

    def __init__(self, job: Job, attempt: Attempt, tools: Tools) -> None:
        self._job = job
        self._attempt = attempt
        self._tools = tools
        self._agent: Agent = tools.agents[attempt.node]
        self._directory = self._agent.attempt_dir(job.id, attempt.epoch)
        self._link: Link | None = None
        self._cancelled = False

    async def run(self) -> Job:
        """Until the job has ended, or is known to be lost. Returns it in its final state."""
        pause = _RETRY_S
        while True:
            try:
                completion = await self._wait_on_link()
            except (LinkLost, ExternalError, TimeoutError):
                completion = await self._ask_status()
            finally:
                await self._leave()
            if completion is not None:
                return self._ended(completion)
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

    async def _wait_on_link(self) -> Completion | None:
        link = await self._agent.link(self._directory)
        self._link = link
        hello = await link.expect("hello", timeout_s=self._tools.timings.verb_s)
        if hello.get("state") == "exited":
            return await self._ask_status()
        event = await link.expect("exited", timeout_s=_FOREVER_S)
        return _completion(event)

    async def _ask_status(self) -> Completion | None:
        """None: no answer, or it still runs. An unknown completion: it is gone and left no word."""
        try:
            status = await self._agent.verb("status", self._directory)
        except (ExternalError, VerbFailed):
            self._agent.forget()
            return None
        if status.get("state") == "exited":
            return _completion(status)
        if status.get("launcher_alive"):
            return None
        try:
            # Its launcher died with the submission: what is left of the job must not go on unseen.
            fenced = await self._agent.verb("fence", self._directory)
        except (ExternalError, VerbFailed):
            return None
        return Completion() if fenced.get("dead") else None

    def _ended(self, completion: Completion) -> Job:
        now = self._tools.clock.time()
        if self._cancelled:
            state = JobState.CANCELLED
        elif completion == Completion():
            state = JobState.LOST
        elif completion.exit_code == 0:
            state = JobState.SUCCEEDED
        else:
            state = JobState.FAILED
        job = replace(self._job, state=state, completion=completion)
        attempt = replace(self._attempt, state=AttemptState.ENDED, ended_t=now, completion=completion)
        self._tools.store.save_attempt(attempt)
        self._tools.store.save_job(job)
        if state is not JobState.LOST:
            self._tools.capsules.drop(job.id)
        return job

    async def _leave(self) -> None:
        if self._link is not None:
            await self._link.close()
            self._link = None


_FOREVER_S = 365.0 * 86400


def _completion(event: dict[str, Any]) -> Completion:
    return Completion(exit_code=event.get("exit_code"), signal=event.get("signal"))
