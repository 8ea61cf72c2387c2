"""A backend in memory, for tests and trials: does what a real one does, and fails, lags or lies when told to.

With a Host for a node the command really runs there; without, the test decides how it ends (`finish`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from offloader.backends.base import Submission, SubmissionState, SubmissionStatus
from offloader.errors import BackendError, NodeUnreachable
from offloader.ports import Host

__all__ = ["FakeBackend"]


@dataclass(slots=True)
class _Entry:
    submission: Submission
    status: SubmissionStatus
    task: asyncio.Task[None] | None = None


class FakeBackend:
    """Runs submissions through `hosts` (node name → Host), or leaves them to the test.

    The switches are plain attributes: `delay_s` before every answer, `timeout_s` after which a slow answer is given
    up, `down` (nothing answers), `refuse` (every request is refused with this message), `lose` (submissions arrive,
    their answers do not), `hold_pending` (nothing starts), `dead` (addresses of nodes that are not alive).
    """

    name = "fake"

    def __init__(
        self, addresses: frozenset[str] = frozenset(), hosts: Mapping[str, Host] | None = None, timeout_s: float = 10.0
    ) -> None:
        self._addresses = addresses
        self._hosts = dict(hosts or {})
        self.timeout_s = timeout_s
        self.delay_s = 0.0
        self.down = False
        self.refuse: str | None = None
        self.lose = False
        self.hold_pending = False
        self.dead: set[str] = set()
        self.entries: dict[str, _Entry] = {}

    async def submit(self, submission: Submission) -> str:
        """Starts at once where the node is alive, else waits for ever, as a pinned job does."""
        await self._answer()
        if submission.id not in self.entries:
            entry = _Entry(submission, SubmissionStatus(SubmissionState.PENDING))
            self.entries[submission.id] = entry
            self._start(entry)
        if self.lose:
            raise BackendError("the fake backend's answer to the submission was lost")
        return submission.id

    async def status(self, submission_id: str) -> SubmissionStatus:
        """What was recorded."""
        await self._answer()
        entry = self.entries.get(submission_id)
        return entry.status if entry else SubmissionStatus(SubmissionState.NOT_FOUND)

    async def stop(self, submission_id: str) -> None:
        """Ends the command too."""
        await self._answer()
        entry = self.entries.get(submission_id)
        if entry is None or entry.status.state.final:
            return
        entry.status = SubmissionStatus(SubmissionState.STOPPED)
        await _ended(entry)

    async def alive_nodes(self) -> frozenset[str]:
        """Those given, less those in `dead`."""
        await self._answer()
        return self._addresses - self.dead

    async def close(self) -> None:
        """Ends the commands too: they are this process's children."""
        for entry in self.entries.values():
            await _ended(entry)

    def finish(self, submission_id: str, exit_code: int = 0) -> None:
        """For tests without hosts: the command ended with `exit_code`."""
        self.entries[submission_id].status = _completed(exit_code)

    def _start(self, entry: _Entry) -> None:
        node = entry.submission.node
        if self.hold_pending or node.address in self.dead or node.address not in self._addresses:
            return
        entry.status = SubmissionStatus(SubmissionState.RUNNING)
        host = self._hosts.get(node.name)
        if host is not None:
            entry.task = asyncio.create_task(_run(entry, host))

    async def _answer(self) -> None:
        if self.down:
            raise BackendError("the fake backend does not answer: it is down")
        if self.delay_s > self.timeout_s:
            await asyncio.sleep(self.timeout_s)
            raise BackendError(f"the fake backend did not answer within {self.timeout_s:g} s")
        await asyncio.sleep(self.delay_s)
        if self.refuse is not None:
            raise BackendError(self.refuse)


_FOR_EVER_S = 1e9


async def _run(entry: _Entry, host: Host) -> None:
    try:
        done = await host.run(entry.submission.argv, timeout_s=_FOR_EVER_S)
    except (NodeUnreachable, OSError) as error:  # no such node, no such command
        entry.status = SubmissionStatus(SubmissionState.FAILED, None, str(error))
    else:
        entry.status = _completed(done.returncode)


async def _ended(entry: _Entry) -> None:
    if entry.task is not None:
        entry.task.cancel()
        await asyncio.gather(entry.task, return_exceptions=True)


def _completed(exit_code: int) -> SubmissionStatus:
    state = SubmissionState.SUCCEEDED if exit_code == 0 else SubmissionState.FAILED
    return SubmissionStatus(state, exit_code)
