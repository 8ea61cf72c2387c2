"""What the API needs of the controller: one method per route, already stripped of HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from offloader.daemon.api.caller import Caller
from offloader.model import Capacity, Mode, Resource, StrategyName
from offloader.moves.starting import Program

__all__ = ["AutoRequest", "Control", "KeepRequest", "MoveRequest", "OutputRequest", "RunRequest"]

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AutoRequest:
    """What `auto` is asked to change; None leaves it as it is. A threshold of None: the rules' own again."""

    enabled: bool | None = None
    mode: Mode | None = None
    thresholds: Mapping[Resource, float | None] | None = None


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """A person's own move. `strategy` None: the best one that its job allows. `stage` None: as configured."""

    pid: int
    target: str | None = None
    strategy: StrategyName | None = None
    dry_run: bool = False
    capture_state: bool = True
    stage: bool | None = None
    close_connections: bool = False
    env_vars: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeepRequest:
    """A job that stays here, named by one of its processes. `for_s` None: as long as the configuration says."""

    pid: int
    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A command that is to run on a worker, on `target` or on the one it fits best."""

    program: Program
    needs: Capacity
    target: str | None = None
    restart_safe: bool = False
    outputs_apart: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """What a job wrote: standard output (1) or standard error (2) of one attempt, of its newest by default."""

    stream: int = 1
    epoch: int | None = None
    offset: int = 0
    follow: bool = False


class Control(Protocol):
    """Every method checks what this caller may see or do, and raises `offloader.errors` otherwise."""

    async def status(self, caller: Caller) -> Document:
        """The one status document."""

    async def auto(self, caller: Caller, request: AutoRequest) -> Document:
        """Change the toggles, tick at once, and answer with the new status document."""

    async def scan(self, caller: Caller, nodes: tuple[str, ...], everything: bool) -> list[Document]:
        """What could be moved."""

    async def why(self, caller: Caller, subject: int | str | None) -> Document:
        """Why something or nothing is moved; of a pid why its job is or is not; of a move's id what became of it."""

    async def move(self, caller: Caller, request: MoveRequest) -> Document:
        """Start a move, or plan it only."""

    async def keep(self, caller: Caller, request: KeepRequest) -> Document:
        """No rule moves this job for a while."""

    async def keeps(self, caller: Caller) -> list[Document]:
        """What is kept."""

    async def release(self, caller: Caller, what: str) -> Document:
        """Take a keep back, by its id or pid."""

    async def proposals(self, caller: Caller) -> list[Document]:
        """Planned moves that wait for somebody's word."""

    async def answer(self, caller: Caller, proposal_id: str, *, agreed: bool) -> Document:
        """Agree to one, or say no."""

    async def moves(self, caller: Caller, limit: int) -> list[Document]:
        """Moves, newest first."""

    async def mine(self, caller: Caller) -> Document:
        """What happened to the caller's own jobs."""

    async def show(self, caller: Caller, move_id: str) -> Document:
        """One move with its history."""

    async def cancel(self, caller: Caller, move_id: str) -> Document:
        """Roll back, or end the job."""

    async def logs(self, caller: Caller, move_id: str, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """The job's output."""

    async def run(self, caller: Caller, request: RunRequest) -> Document:
        """Start a job as the caller."""

    async def job(self, caller: Caller, job_id: str) -> Document:
        """One job, by its id or a move's."""

    async def bring(self, caller: Caller, job_id: str, target: str | None, *, close_connections: bool) -> Document:
        """Move it on to another node; None: home. The move as it begins."""

    async def end_job(self, caller: Caller, job_id: str) -> Document:
        """End it."""

    async def output(self, caller: Caller, job_id: str, request: OutputRequest) -> AsyncIterator[bytes]:
        """What it wrote."""

    async def rules(self, caller: Caller) -> list[Document]:
        """Loaded rules and their states."""

    async def events(self, caller: Caller, after: int, limit: int) -> list[Document]:
        """What happened."""

    async def reload(self, by: str) -> Document:
        """Read configuration and rules again. The route has checked who asks."""

    def may_reload(self, caller: Caller) -> None:
        """Raises NotPermitted unless the caller is an admin."""
