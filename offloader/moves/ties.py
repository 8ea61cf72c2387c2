"""The ways between the terminals of moved jobs and the stubs of `run --local` that keep them for their users.

A way is two commands, `tie` at the job's node and `tie` on the head, and two pipes between them: their bytes pass us
by. What was said and not heard is with both ends, so a way may break at any time; it is made again, by the next
controller too. The stub listens for as long as it lives: where nobody does, the terminal hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from offloader.errors import NodeUnreachable
from offloader.model import Attempt, Completion, Move
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.both_ends import End, pipe
from offloader.moves.persist import surely
from offloader.moves.terminals import stub_of
from offloader.moves.tools import Tools

__all__ = ["Ties"]

log = logging.getLogger(__name__)

_GONE = "NOT_RUNNING"
_READY_S = 20.0
_PAUSE_S, _LONGEST_PAUSE_S, _LASTED_S = 0.2, 5.0, 5.0
_LAST_OUTPUT_S = 10.0

Spawn = Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]


class Ties:
    """Of all jobs of one controller; one way a job."""

    def __init__(self, tools: Tools, spawn: Spawn) -> None:
        self._tools = tools
        self._spawn = spawn
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, attempt: Attempt) -> None:
        """Lead its user's keys to it, and what it writes to him, until somebody else is followed or it is over.

        Not where the job has no terminal. Raises JournalError.
        """
        stub = stub_of(self._tools.store, attempt.job)
        if stub is None:
            return
        self._drop(attempt.job)
        way = _Way(self._head(), self._tools.agents[attempt.node], stub, attempt)
        self._tasks[attempt.job] = self._spawn(self._keep(way), f"terminal of {attempt.job}")

    async def over(self, job_id: str, completion: Completion, *, words: str = "", output: bool = True) -> None:
        """The job has ended: its stub has heard when this returns, or goes on being told.

        Args:
            job_id: whose terminal it was; one that has none is fine.
            completion: how it ended; neither: it is lost.
            words: for its user.
            output: whether its terminal may still have something to say, the end too.
        """
        stub = await self._stub_of(job_id)
        if stub is None:
            return
        task = self._tasks.get(job_id)
        if task is not None and output:
            await asyncio.wait({task}, timeout=_LAST_OUTPUT_S)
            if task.done() and not task.cancelled():
                self._drop(job_id)
                return
        self._drop(job_id)
        telling = self._spawn(self._tell(stub, _over(completion, words)), f"end of {job_id}")
        await asyncio.wait({telling}, timeout=_LAST_OUTPUT_S)

    async def remind(self, job_id: str, completion: Completion) -> None:
        """After a restart: a stub that has not heard of the end is told again."""
        stub = await self._stub_of(job_id)
        if stub is not None:
            self._spawn(self._tell(stub, _over(completion)), f"end of {job_id}")

    async def stays(self, move: Move) -> None:
        """It has come to nothing: a job that was killed in it has ended here."""
        stub = await self._stub_of(move.job)
        if stub is not None:
            self._spawn(self._tell(stub, {"do": "stays", "move": move.id}), f"end of {move.id}")

    async def _stub_of(self, job_id: str) -> str | None:
        return await surely(self._tools, f"the terminal of {job_id}", stub_of, self._tools.store, job_id)

    def _head(self) -> Agent:
        return self._tools.agents[self._tools.head]

    def _drop(self, job_id: str) -> None:
        task = self._tasks.pop(job_id, None)
        if task is not None:
            task.cancel()

    async def _keep(self, way: _Way) -> None:
        """Until the stub has ended."""
        pause = _PAUSE_S
        while True:
            began = self._tools.clock.boottime()
            try:
                if not await way.hold():
                    await way.hang_up()
                    return
            except (VerbFailed, NodeUnreachable, OSError) as error:  # TimeoutError, too; no descriptor left for a pipe
                log.debug("terminal of %s: %s", way.job, error)
            lasted = self._tools.clock.boottime() - began >= _LASTED_S
            pause = _PAUSE_S if lasted else min(2 * pause, _LONGEST_PAUSE_S)
            await self._tools.clock.sleep(pause)

    async def _tell(self, stub: str, request: dict[str, Any]) -> None:
        """Until it has heard, or is gone."""
        pause = _PAUSE_S
        while True:
            try:
                await self._head().verb("terminal", stub, stdin=json.dumps(request).encode())
            except VerbFailed as error:
                if error.code == _GONE:
                    return
            except NodeUnreachable as error:
                log.debug("stub %s: %s", stub, error)
            else:
                return
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            await self._tools.clock.sleep(pause)


_LOST = 125
"""The exit code of `run` for what it could not run, or lost."""


def _over(completion: Completion, words: str = "") -> dict[str, Any]:
    code = _LOST if completion == Completion() else completion.exit_code
    return {"do": "over", "exit_code": code, "signal": completion.signal, "words": words}


class _Way:
    """Between one attempt and its stub."""

    def __init__(self, head: Agent, there: Agent, stub: str, attempt: Attempt) -> None:
        self._head, self._there, self._stub = head, there, stub
        self._directory = there.attempt_dir(attempt.job, attempt.epoch)
        self._facts = (attempt.job, str(attempt.epoch), attempt.node)
        self.job = attempt.job

    async def hold(self) -> bool:
        """Make it, and wait until it breaks. False: there is no stub any more.

        Raises VerbFailed, NodeUnreachable, OSError (TimeoutError).
        """
        async with contextlib.AsyncExitStack() as ends:
            with contextlib.ExitStack() as ours:
                forward, backward = pipe(ours), pipe(ours)
                place: tuple[str, ...] = (self._stub, *self._facts)
                here = await End.attached(ends, self._head, "tie", *place, stdin=forward[0], stdout=backward[1])
                if not await self._listens(here):
                    return False
                place = (self._directory,)
                there = await End.attached(ends, self._there, "tie", *place, stdin=backward[0], stdout=forward[1])
            async with asyncio.timeout(_READY_S):
                await there.document()
            await here.over()
        return True

    async def _listens(self, here: End) -> bool:
        try:
            async with asyncio.timeout(_READY_S):
                await here.document()
        except VerbFailed as error:
            if error.code == _GONE:
                return False
            raise
        return True

    async def hang_up(self) -> None:
        """To the job it is what it is on any terminal. One that has ended does not mind. Raises NodeUnreachable."""
        with contextlib.suppress(VerbFailed):
            await self._there.verb("terminal", self._directory, stdin=json.dumps({"do": "hang_up"}).encode())
