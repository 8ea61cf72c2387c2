"""What moves need of a system that runs work on other nodes: start this command there, say how it is, end it.

A backend knows nothing of moves, capsules or safety: it runs the launcher's command line and reports what the outside
system says, never more. What the outside system does not say is UNKNOWN; "not found" is not "finished".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from offloader.model import Capacity

__all__ = ["Backend", "NodeAddress", "Submission", "SubmissionState", "SubmissionStatus"]


class SubmissionState(StrEnum):
    """What the outside system says of a submission. Only the three ends are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"  # it answered something that we cannot read: neither running nor ended
    NOT_FOUND = "not_found"  # it knows no such submission: never arrived, or forgotten

    @property
    def final(self) -> bool:
        """Whether the outside system will not run anything of it any more."""
        return self in (SubmissionState.SUCCEEDED, SubmissionState.FAILED, SubmissionState.STOPPED)


@dataclass(frozen=True, slots=True)
class SubmissionStatus:
    """State, the command's exit code (negative: the signal) where known, and the outside system's own words."""

    state: SubmissionState
    exit_code: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node by its name in our configuration and by the address under which the backend knows it."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A command for one node. Everything in it may become visible to whoever can ask the outside system.

    `id` is `<job ULID>-<epoch>`: the same attempt always bears the same id. `argv` is the launcher's command line; the
    backend quotes it. `resources` is what the outside system accounts for. `metadata` is harmless: job, epoch, name.
    """

    id: str
    node: NodeAddress
    argv: tuple[str, ...]
    resources: Capacity = field(default_factory=Capacity)
    metadata: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """All calls may be repeated; each ends within the backend's own time-out; each raises only BackendError.

    BackendError means that the outside system could not be asked or refused: what it would have said stays unknown,
    and a submission may have arrived even so.
    """

    @property
    def name(self) -> str:
        """The word of configuration and rules: `ray`, `slurm`."""

    async def submit(self, submission: Submission) -> str:
        """Start it on its node and no other. A second call with the same id starts nothing. Returns the id."""

    async def status(self, submission_id: str) -> SubmissionStatus:
        """What the outside system says now."""

    async def stop(self, submission_id: str) -> None:
        """Ask for its end; ended and unknown ones are fine. A pending one may start even so: revoke its capsule."""

    async def alive_nodes(self) -> frozenset[str]:
        """Addresses of the nodes on which work can start now."""

    async def close(self) -> None:
        """Release connections and threads; running submissions go on. Never raises."""
