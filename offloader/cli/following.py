"""A job's output on this terminal: over restarts of the controller and of the job, until its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import Sequence
from typing import Any, BinaryIO, NoReturn

from offloader.cli import render
from offloader.client import JOB_OPEN, Client
from offloader.errors import ControllerUnavailable, ExternalError, NotFound, OffloaderError

__all__ = ["attach", "note_unread_input", "outputs_together", "run_and_follow"]

_NEVER_RAN = 125
_POLL_S = 0.1
_POLL_MAX_S = 1.0
_PATIENCE_S = 120.0  # for a controller that is away
_TWICE_S = 2.0  # srun(1) has 1 s
_SIGNALS = 128

Document = dict[str, Any]


def outputs_together() -> bool:
    """Whether standard output and standard error go to the same file or terminal: then their order is worth keeping."""
    try:
        return os.path.samestat(os.fstat(1), os.fstat(2))
    except OSError:  # one is closed
        return False


def note_unread_input() -> None:
    """Tell people who pipe something in that nobody reads it."""
    try:
        piped = stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        return
    if piped:
        render.say("note: a job's input is a file or /dev/null: what is piped in is not read")


async def run_and_follow(controller: Client, argv: Sequence[bytes], asked: Document) -> int:
    """Start it and follow it. Returns its exit code; raises OffloaderError only where it was not started."""
    job = await controller.run(argv, **asked)
    render.say(f"job {job['id']}")
    return await _Follower(controller, job["id"], ends_it=True).run()


async def attach(controller: Client, job_id: str, *, new: bool) -> int:
    """Follow one that was started before. Raises NotFound, NotPermitted."""
    job = await controller.job(job_id)
    follower = _Follower(controller, job["id"], ends_it=False)
    if new:
        await follower.skip(job)
    return await follower.run()


class _Left(Exception):
    """Whoever watched goes; the job goes on. `code`: our own exit code."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(str(code))


class _Follower:
    """One job, followed by one person."""

    def __init__(self, controller: Client, job_id: str, *, ends_it: bool) -> None:
        """Args: ends_it: whether signals to us mean the job."""
        self._controller = controller
        self._id = job_id
        self._ends_it = ends_it
        self._skipped: dict[tuple[int, int], int] = {}
        self._asked_t = 0.0
        self._ending: asyncio.Task[None] | None = None
        self._left: asyncio.Future[NoReturn] | None = None
        self._said = ""

    async def skip(self, job: Document) -> None:
        """Leave out what there is already."""
        for attempt in filter(_ran, job["attempts"]):
            for stream in (1, 2):
                chunks = self._controller.output(self._id, stream=stream, epoch=attempt["epoch"])
                self._skipped[attempt["epoch"], stream] = sum([len(chunk) async for chunk in chunks])

    async def run(self) -> int:
        """Until the job is over, or whoever watches has gone."""
        loop = asyncio.get_running_loop()
        self._left = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)
        following = asyncio.ensure_future(self._follow())
        try:
            await asyncio.wait((following, self._left), return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return _exit_code(following.result())
            self._left.result()
        except _Left as error:
            return error.code
        finally:
            following.cancel()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
            await asyncio.gather(following, return_exceptions=True)

    # --- signals ------------------------------------------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP or not self._ends_it or self._ending is not None:
            self._leave(number)
        elif number == signal.SIGINT and os.isatty(0) and time.monotonic() - self._asked_t > _TWICE_S:
            self._asked_t = time.monotonic()
            render.say(
                f"\nCtrl-C again within {_TWICE_S:g} s ends job {self._id}; if you close the terminal it goes on"
            )
        else:
            render.say(f"ending job {self._id}; once more leaves it to itself")
            self._ending = asyncio.ensure_future(self._end())

    def _leave(self, number: int) -> None:
        assert self._left is not None
        if not self._left.done():
            if number != signal.SIGHUP:
                render.say(f"job {self._id} goes on: grid-offloader attach {self._id}, or cancel {self._id}")
            self._left.set_exception(_Left(_SIGNALS + number))

    async def _end(self) -> None:
        while True:
            try:
                await self._controller.end_job(self._id)
            except (ControllerUnavailable, ExternalError):
                await asyncio.sleep(_POLL_MAX_S)
            except OffloaderError as error:  # it is over already: then following it ends by itself
                render.show_error(error)
                return
            else:
                return

    # --- output -------------------------------------------------------------------------------------------------

    async def _follow(self) -> Document:
        shown, pause = 0, _POLL_S
        while True:
            job = await self._look()
            attempt = next((one for one in job["attempts"] if one["epoch"] > shown and _ran(one)), None)
            if attempt is not None:
                if shown:
                    render.say(f"job {self._id} starts again from its beginning, on {attempt['node']}")
                await asyncio.gather(self._copy(attempt, 1), self._copy(attempt, 2))
                shown, pause = attempt["epoch"], _POLL_S
            elif job["state"] not in JOB_OPEN:
                return job
            else:
                self._tell(job)
                await asyncio.sleep(pause)
                pause = min(_POLL_MAX_S, pause * 1.5)

    async def _copy(self, attempt: Document, stream: int) -> None:
        """What one attempt writes, to its end; begun again where a connection broke."""
        epoch = attempt["epoch"]
        offset = self._skipped.get((epoch, stream), 0)
        sink = sys.stdout.buffer if stream == 1 else sys.stderr.buffer
        while True:
            over = attempt["state"] == "ended"  # before reading: what was written before the end is then surely read
            broken: OffloaderError | None = None
            try:
                async for chunk in self._controller.output(
                    self._id, stream=stream, epoch=epoch, offset=offset, follow=not over
                ):
                    _write(sink, chunk)
                    offset += len(chunk)
            except (ControllerUnavailable, ExternalError, NotFound) as error:
                broken = error
            if over and not isinstance(broken, ControllerUnavailable):
                if broken is not None:
                    render.say(f"what it wrote last cannot be read: {render.clean(str(broken))}")
                return
            await asyncio.sleep(_POLL_S)
            job = await self._look()
            attempt = next(one for one in job["attempts"] if one["epoch"] == epoch)

    async def _look(self) -> Document:
        since = time.monotonic()
        while True:
            try:
                return await self._controller.job(self._id)
            except ControllerUnavailable:
                if time.monotonic() - since > _PATIENCE_S:
                    raise
                await asyncio.sleep(_POLL_MAX_S)

    def _tell(self, job: Document) -> None:
        """Why nothing is to be seen, once."""
        if job["detail"] and job["detail"] != self._said:
            self._said = job["detail"]
            render.say(render.clean(job["detail"]))


def _ran(attempt: Document) -> bool:
    """Whether its command was executed. One that ended at once may have, and nobody had time to note its pid."""
    return bool(attempt["pid"]) or attempt["exit_code"] is not None or attempt["signal"] is not None


def _write(sink: BinaryIO, data: bytes) -> None:
    sink.write(data)
    sink.flush()


def _exit_code(job: Document) -> int:
    if job["exit_code"] is not None:
        return int(job["exit_code"])
    if job["signal"] is not None:
        return _SIGNALS + int(job["signal"])
    words = "was ended before it ran" if job["state"] == "cancelled" else f"has {job['state']}"
    if job["state"] == "lost":
        words = "is lost: how it ended is not known"
    render.say(f"job {job['id']} {words}{': ' + render.clean(job['detail']) if job['detail'] else ''}")
    return _NEVER_RAN
