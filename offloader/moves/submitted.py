"""What a backend says of its nodes, and of a launcher that was submitted to it and was not reached yet."""

from __future__ import annotations

from offloader.backends.base import Backend, SubmissionState
from offloader.errors import BackendError
from offloader.model import Obstacle, Reason
from offloader.moves.plan import MoveNode

__all__ = ["not_coming", "not_ready"]


async def not_ready(backend: Backend, node: MoveNode) -> Obstacle | None:
    """What keeps the backend from starting anything on that node now; None: nothing that it knows of."""
    try:
        alive = await backend.alive_nodes()
    except BackendError as error:
        return Obstacle(Reason.SUBMIT_FAILED, str(error))
    if node.address in alive:
        return None
    return Obstacle(Reason.TARGET_DOWN, _unlisted(backend, node), f"start {backend.name} on {node.name}")


async def not_coming(backend: Backend, submission_id: str, node: MoveNode) -> str | None:
    """A sentence when the submission has ended, or waits for a node that is gone; None: it may still come.

    A submission that is pinned to a dead node would stay pending for as long as anybody waits. It may start even so,
    should its node come back: whoever gives it up revokes its capsule. Raises BackendError.
    """
    status = await backend.status(submission_id)
    if status.state.final:
        return f"{backend.name} says that the submission {status.state}: {status.message}"
    if status.state is SubmissionState.PENDING and node.address not in await backend.alive_nodes():
        return _unlisted(backend, node)
    return None


def _unlisted(backend: Backend, node: MoveNode) -> str:
    return f"{backend.name} does not list {node.name} ({node.address}) among the nodes that are alive"
