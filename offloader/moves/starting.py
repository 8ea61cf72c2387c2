"""`run`: a job that has no original comes into being, checked as far as that goes before anything is written down.

Whoever asks is known by his socket's credentials, and what costs privileges (limits, priority, groups) is read from his
process by the same `capture` as a job's that moves; what he says himself is the command, its directory, environment,
umask and which files it names. From there on it is started by what starts jobs again (moves/restarting.py).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from offloader.engine.remedies import obstacle
from offloader.errors import JournalError, NodeUnreachable, NotPermitted, Refused
from offloader.jobs.ids import UlidFactory
from offloader.model import Attempt, AttemptState, Capacity, Job, Obstacle, Reason
from offloader.moves.agent import VerbFailed
from offloader.moves.capsule import commissioned
from offloader.moves.order import FIRST_EPOCH, RUN_MARK, Order
from offloader.moves.tools import Place, Tools

__all__ = ["Program", "RunPlan", "Starting"]


@dataclass(frozen=True, slots=True)
class Program:
    """What is executed, as its user's own eyes saw it at the source; bytes as he typed them.

    `path`, `digest`, `size`: of the executable (launcher.fileprint); `files`: arguments that named files there, with
    the digest of what must be the same at the target.
    """

    argv: tuple[bytes, ...]
    environ: tuple[bytes, ...]
    cwd: bytes
    umask: int
    path: bytes
    digest: str
    size: int
    files: tuple[tuple[bytes, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What is asked for, and by whom as the kernel says. `name`: harmless to show. `env`: put over the environment."""

    program: Program
    uid: int
    pid: int
    name: str
    needs: Capacity
    target: str | None = None
    restart_safe: bool = False
    outputs_apart: bool = False
    backend: str = "ray"
    env: Mapping[str, str] = field(default_factory=dict)


class Starting:
    """Makes jobs from plans."""

    def __init__(self, tools: Tools, new_id: UlidFactory) -> None:
        self._tools = tools
        self._new_id = new_id

    async def create(self, plan: RunPlan) -> Job:
        """Journal the job with its pending attempt, and keep its capsule.

        Raises:
            Refused: nothing can take it; every obstacle of the worker that comes first is listed.
            NotPermitted: the process that asks is not the one that connected.
            NodeUnreachable: the head's launcher does not answer.
            JournalError: it could not be written down, so nothing was done.
        """
        forbidden = self._tools.forbidden(None)
        if forbidden is not None:
            raise Refused(forbidden[0], forbidden[1], (obstacle(*forbidden),))
        asker = await self._asker(plan)
        job = Job(
            id=self._new_id(),
            user=asker["user"],
            uid=plan.uid,
            name=plan.name,
            created_t=self._tools.clock.time(),
            restart_safe=plan.restart_safe,
        )
        order = Order(f"{job.user}:{plan.name}", plan.needs, plan.target)
        capsule = commissioned(
            _process(asker, plan.program),
            job.id,
            order,
            env={**plan.env, RUN_MARK: job.id},
            outputs_apart=plan.outputs_apart,
        )
        await self._check(capsule, order, plan.backend)
        self._keep(job, json.dumps(capsule).encode(), plan.backend)
        return job

    async def _asker(self, plan: RunPlan) -> Mapping[str, Any]:
        """Circumstances of the process that asks. It may have ended, and its pid been used again, since it asked."""
        try:
            asker: Mapping[str, Any] = await self._tools.agents[self._tools.head].verb("capture", str(plan.pid))
        except VerbFailed as error:
            reason = Reason(error.code) if error.code in Reason.__members__ else Reason.UNREADABLE
            raise Refused(reason, f"the process that asks for it cannot be read: {error.detail}") from error
        if asker["uid"] != plan.uid:
            raise NotPermitted(Reason.NOT_YOURS, f"process {plan.pid} is not the one that asked: ask again")
        return asker

    async def _check(self, capsule: dict[str, Any], order: Order, backend: str) -> None:
        """One worker at least would open this capsule. Raises Refused with what the first one lacks."""
        tried: set[str] = set()
        first: tuple[str, tuple[Obstacle, ...]] | None = None
        while True:
            place = self._tools.placer(
                self._tools.head, order.needs, order.needs, avoid=frozenset(tried), only=order.target
            )
            if not isinstance(place, Place):
                first = first or ("", (place,))
            elif place.node not in tried:
                tried.add(place.node)
                found = await self._obstacles(capsule, place.node, backend)
                if not found:
                    return
                first = first or (place.node, found)
                continue
            assert first is not None
            where = f"{order.target or first[0] or 'no worker'} cannot run it"
            raise Refused(first[1][0].reason, f"{where}: {first[1][0].seen}", first[1])

    async def _obstacles(self, capsule: dict[str, Any], node: str, backend: str) -> tuple[Obstacle, ...]:
        try:
            return (await self._tools.preflight.again(capsule, self._tools.head, node, backend=backend)).obstacles
        except VerbFailed as error:
            code = Reason(error.code) if error.code in Reason.__members__ else Reason.LAUNCH_FAILED
            return (Obstacle(code, error.detail),)
        except NodeUnreachable as error:
            return (Obstacle(Reason.TARGET_DOWN, str(error)),)

    def _keep(self, job: Job, capsule: bytes, backend: str) -> None:
        if self._tools.store.degraded:
            raise JournalError("the state directory is full: nothing new is started until there is room")
        self._tools.capsules.put(job.id, capsule)
        attempt = Attempt(job.id, FIRST_EPOCH, "", backend, None, None, AttemptState.PENDING, job.created_t)
        try:
            self._tools.store.settle(job, (attempt,))
        except BaseException:
            self._tools.capsules.drop(job.id)
            raise


def _process(asker: Mapping[str, Any], program: Program) -> dict[str, Any]:
    """The process part of the capsule: the asker's circumstances, and the command as he gave it.

    The processors to which he is pinned say nothing about a worker's. A job reads its input from a file or not at all.
    """
    stdin = asker["stdio"]["0"]
    return {
        **asker,
        "argv": [_packed(part) for part in program.argv],
        "environ": [_packed(entry) for entry in program.environ],
        "cwd": _packed(program.cwd),
        "exe": {"path": _packed(program.path), "digest": program.digest, "size": program.size},
        "files": [{"path": _packed(path), "digest": digest} for path, digest in program.files],
        "umask": program.umask,
        "affinity": None,
        "stdio": {
            "0": stdin if stdin["kind"] == "file" else {"kind": "null"},
            "1": {"kind": "pipe"},
            "2": {"kind": "pipe"},
        },
    }


def _packed(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
