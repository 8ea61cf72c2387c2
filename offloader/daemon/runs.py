"""Jobs that `run` starts, and jobs as such: who may see, follow and end them, and their documents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

from exporter.classify import command_of
from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import RunRequest
from offloader.daemon.controller import Controller
from offloader.daemon.documents import job_document, move_document
from offloader.engine.remedies import obstacle
from offloader.errors import NotFound, NotPermitted, Refused
from offloader.jobs.events import EventKind
from offloader.jobs.store import Reader
from offloader.model import Attempt, Job, Obstacle, Policy, Reason
from offloader.moves.agent import VerbFailed
from offloader.moves.plan import Bring
from offloader.moves.starting import RunPlan
from offloader.moves.submitted import LOCAL

__all__ = ["Runs", "started_jobs"]

Document = dict[str, Any]

_LOOKED_THROUGH, _OVER = 200, 10
_NAME_LENGTH = 64


class Runs:
    """What the desk does about jobs."""

    def __init__(self, controller: Controller, permissions: Permissions) -> None:
        self._controller = controller
        self._permissions = permissions

    async def run(self, caller: Caller, request: RunRequest) -> Document:
        """Start a job, as the caller and as nobody else.

        Raises:
            Refused: nothing may be started, or no worker can take it; every obstacle is listed.
            JournalError: it could not be written down.
        """
        parts = self._controller.parts
        if parts.records_only is not None:
            raise Refused(Reason.DISABLED, f"this controller starts nothing, it only records: {parts.records_only}")
        unwanted = _unwanted(caller, self._controller.setup.policy)
        if unwanted is not None:
            raise Refused(unwanted.reason, unwanted.seen, (unwanted,))
        name = _name(request.program.argv)
        job = await parts.acting.run(
            RunPlan(
                program=request.program,
                uid=caller.uid,
                pid=caller.pid,
                name=name,
                needs=request.needs,
                target=request.target,
                restart_safe=request.restart_safe,
                outputs_apart=request.outputs_apart,
                backend=parts.backend,
                env=request.env,
            )
        )
        words = f"{caller.name} runs {name}: job {job.id}"
        parts.decisions.told(EventKind.JOB, job.id, words, parts.clock.time(), data={"by_uid": caller.uid})
        return self._document(caller, job)

    async def show(self, caller: Caller, job_id: str) -> Document:
        """One job."""
        return self._document(caller, self._found(job_id))

    async def end(self, caller: Caller, job_id: str) -> Document:
        """End it: for those who could signal it."""
        job = self._found(job_id)
        if not self._permissions.signals(caller, job.uid):
            raise _not_yours(f"job {job.id} is another user's: you may end what you could signal")
        parts = self._controller.parts
        words = f"{caller.name} ends job {job.id}"
        parts.decisions.told(EventKind.JOB, job.id, words, parts.clock.time(), data={"by_uid": caller.uid})
        await parts.acting.end(job.id)
        return self._document(caller, self._found(job.id))

    async def bring(
        self, caller: Caller, job_id: str, target: str | None, *, close_connections: bool = False
    ) -> Document:
        """Move it on to `target`, None: home to the head. For those who could signal it. The move as it begins.

        `close_connections`: its TCP connections with other hosts may be closed.

        Raises:
            NotFound, NotPermitted, Refused, JournalError.
            NodeUnreachable: its node does not say what runs there.
        """
        job = self._found(job_id)
        if not self._permissions.signals(caller, job.uid):
            raise _not_yours(f"job {job.id} is another user's: you may move what you could signal")
        parts, policy = self._controller.parts, self._controller.setup.policy
        where = target if target is not None else policy.head
        wish = Bring(where, LOCAL if where == policy.head else parts.backend, caller.uid, close_connections)
        try:
            move = await parts.acting.bring(job.id, wish)
        except VerbFailed as error:
            raise Refused(Reason.NO_SUCH_PROCESS, error.detail) from error
        words = f"{move.id} begins: {caller.name} brings {job.name} from {move.source} to {move.target}"
        parts.decisions.told(EventKind.MOVE, move.id, words, parts.clock.time(), data={"by_uid": caller.uid})
        return move_document(move, job, steps=parts.store.timeline(move.id))

    async def output(
        self, caller: Caller, job_id: str, *, epoch: int | None, stream: int, offset: int, follow: bool
    ) -> AsyncIterator[bytes]:
        """What one of its attempts wrote, the newest one's by default: for its owner and admins."""
        job = self._found(job_id)
        if not self._permissions.sees(caller, job.uid):
            raise _not_yours(f"the output of job {job.id} is for its owner and admins")
        ran = [one for one in self._controller.parts.store.attempts(job.id) if one.node and one.epoch]
        wanted: Attempt | None = next((one for one in reversed(ran) if epoch in (None, one.epoch)), None)
        if wanted is None:
            raise NotFound(f"job {job.id} has not run there yet: its output begins when it does")
        return self._controller.parts.acting.output(wanted, offset=offset, follow=follow, stream=stream)

    def _found(self, job_id: str) -> Job:
        """By its own id, or by that of one of its moves."""
        store = self._controller.parts.store
        move = store.move(job_id)
        job = store.job(move.job if move is not None else job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id:.60}: `grid-offloader status` lists them")
        return job

    def _document(self, caller: Caller, job: Job) -> Document:
        return _job(self._controller.parts.store, job, private=self._permissions.sees(caller, job.uid))


def started_jobs(store: Reader, *, since: float, private: bool, uid: int | None = None) -> list[Document]:
    """Jobs that `run` started and that never moved: all that are not over, and the newest that are. Newest first.

    `uid`: only those of that user.
    """

    def meant(job: Job) -> bool:
        return uid in (None, job.uid) and store.move_of_job(job.id) is None

    open_ones = {job.id: job for job in store.followed_jobs() if meant(job)}
    recent = (job for job in store.jobs(since=since, limit=_LOOKED_THROUGH) if job.id not in open_ones and meant(job))
    shown = sorted((*open_ones.values(), *islice(recent, _OVER)), key=lambda job: job.id, reverse=True)
    return [_job(store, job, private=private) for job in shown]


def _job(store: Reader, job: Job, *, private: bool) -> Document:
    said = [event for event in store.events(subject=job.id, limit=5) if event.data.get("incident")]
    return job_document(
        job,
        store.attempts(job.id),
        move=store.move_of_job(job.id),
        said=said[-1].message if said and private else "",
    )


def _unwanted(caller: Caller, policy: Policy) -> Obstacle | None:
    """For whom the cluster does not work, as for processes that move."""
    if caller.uid < policy.min_uid:
        return obstacle(Reason.SYSTEM_USER, f"{caller.name} has uid {caller.uid}, which is below {policy.min_uid}")
    if not policy.multi_user and caller.uid != policy.own_uid:
        return obstacle(Reason.OTHER_USER, f"you are {caller.name}, the cluster works for uid {policy.own_uid} only")
    return None


def _name(argv: tuple[bytes, ...]) -> str:
    """What people call it (model.Process.name), harmless to show."""
    command = command_of(argv)
    name = command.script or command.module or command.program or "job"
    return "".join(one if one.isprintable() else "?" for one in name)[:_NAME_LENGTH]


def _not_yours(message: str) -> NotPermitted:
    return NotPermitted(Reason.NOT_YOURS, message, (Obstacle(Reason.NOT_YOURS, message, "ask its owner or an admin"),))
