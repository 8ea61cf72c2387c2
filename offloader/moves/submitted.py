"""Getting a launcher to run on a node: through a backend, or by ourselves where none stands in between."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from offloader.backends.base import Backend, NodeAddress, Submission, SubmissionState
from offloader.errors import BackendError, ExternalError
from offloader.model import Capacity, Obstacle, Reason
from offloader.moves.agent import Agent, VerbFailed
from offloader.moves.plan import MoveNode
from offloader.moves.successor import Successor

__all__ = ["LOCAL", "Submitted", "not_ready"]

LOCAL = "local"
"""The backend of attempts at the node where their user had started them: no scheduler stands in between."""


async def not_ready(backend: Backend, node: MoveNode) -> Obstacle | None:
    """What keeps the backend from starting anything on that node now; None: nothing that it knows of."""
    try:
        alive = await backend.alive_nodes()
    except BackendError as error:
        return Obstacle(Reason.SUBMIT_FAILED, str(error))
    if node.address in alive:
        return None
    return Obstacle(Reason.TARGET_DOWN, _unlisted(backend, node), f"start {backend.name} on {node.name}")


@dataclass(frozen=True, slots=True)
class Submitted:
    """One attempt's launcher, from its start until it can be reached. `id`: None: it is started without a backend."""

    id: str | None
    backend: Backend | None
    agent: Agent
    successor: Successor
    needs: Capacity = field(default_factory=Capacity)

    async def begin(self, metadata: Mapping[str, str]) -> None:
        """Start it. Raises BackendError, VerbFailed, NodeUnreachable."""
        if self.id is None or self.backend is None:
            await self.agent.verb("hold", self.successor.directory, "--detach")
            return
        submission = Submission(
            id=self.id,
            node=NodeAddress(self.agent.node.name, self.agent.node.address),
            argv=self.successor.entrypoint(),
            resources=self.needs,
            metadata=dict(metadata),
        )
        await self.backend.submit(submission)

    async def over(self) -> str | None:
        """A sentence when no launcher will come of it any more; None: it may still come.

        A submission that is pinned to a dead node would stay pending for as long as anybody waits. It may start even
        so, should its node come back: whoever gives it up revokes its capsule. Without a backend nobody says that a
        launcher has ended before it was reached: its own record does. Raises BackendError.
        """
        if self.id is None or self.backend is None:
            record: dict[str, Any] = {}
            with contextlib.suppress(VerbFailed, ExternalError):
                record = await self.agent.verb("status", self.successor.directory)
            if record.get("launcher_alive") or record.get("state") not in ("held", "failed", "aborted"):
                return None  # also one that is just starting
            why = record.get("detail") or record.get("reason", "killed")
            return f"its launcher has ended ({record['state']}): {why}"
        status = await self.backend.status(self.id)
        if status.state.final:
            return f"{self.backend.name} says that the submission {status.state}: {status.message}"
        if status.state is SubmissionState.PENDING and self.agent.node.address not in await self.backend.alive_nodes():
            return _unlisted(self.backend, self.agent.node)
        return None


def _unlisted(backend: Backend, node: MoveNode) -> str:
    return f"{backend.name} does not list {node.name} ({node.address}) among the nodes that are alive"
