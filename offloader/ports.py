"""What decisions and moves need of the outside world. `adapters/` implements these, `daemon/` hands them in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Attached", "ByteChannel", "Clock", "Completed", "Host", "LineChannel", "MetricsSource", "Sample"]
__all__ += ["VectorResult"]


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: its exit status (negative: the signal) and what it wrote."""

    returncode: int
    stdout: bytes
    stderr: bytes


class LineChannel(Protocol):
    """A running command whose stdin and stdout carry one JSON document a line, both ways."""

    async def send(self, line: bytes) -> None:
        """Write one line (without its newline). Raises NodeUnreachable when the channel is closed."""

    def lines(self) -> AsyncIterator[bytes]:
        """Lines as they arrive; ends when the other side closes or the connection is lost."""

    async def close(self) -> None:
        """End the command and release the channel. Never raises."""


class ByteChannel(Protocol):
    """A running command whose stdin and stdout carry raw bytes, both ways at once."""

    async def send(self, data: bytes) -> None:
        """Write; waits while the command does not read. Raises NodeUnreachable when the channel is closed."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive; ends when the other side closes or the connection is lost."""

    async def close(self) -> None:
        """End the command and release the channel. Never raises."""


class Attached(Protocol):
    """A running command whose stdin and stdout are descriptors of ours; what it has to say comes on stderr."""

    def lines(self) -> AsyncIterator[bytes]:
        """Lines of its stderr as they arrive; ends with it."""

    async def close(self) -> None:
        """End the command. Never raises."""


class Host(Protocol):
    """A node on which we may run commands: this one, or one behind SSH. argv lists only: no shell parses them."""

    @property
    def name(self) -> str:
        """The node's name in the cluster configuration."""

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 10.0) -> Completed:
        """Run to the end.

        Raises:
            NodeUnreachable: no connection, or not ended within `timeout_s` (the command is ended too).
        """

    async def open(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> LineChannel:
        """Start a command for line traffic. Raises NodeUnreachable when it cannot be started in time."""

    async def stream(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> ByteChannel:
        """Start a command for raw bytes. Raises NodeUnreachable when it cannot be started in time."""

    async def attach(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Attached:
        """Start a command with its streams tied to these descriptors. Raises NodeUnreachable: it cannot be started."""


class Clock(Protocol):
    """Both clocks, so that tests own the time."""

    def time(self) -> float:
        """Unix seconds: shown to people, compared with Prometheus."""

    def boottime(self) -> float:
        """CLOCK_BOOTTIME seconds: leases and deadlines; goes on while the machine sleeps, never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant query's answer. `t`: when it was evaluated (Unix seconds), not the raw sample's time."""

    labels: Mapping[str, str]
    value: float
    t: float


@dataclass(frozen=True, slots=True)
class VectorResult:
    """What one query gave. With `error` or `warnings` set, nothing may be concluded from the samples, nor from none."""

    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None


class MetricsSource(Protocol):
    """Prometheus, asked by PromQL."""

    async def query(self, *exprs: str, at: float | None = None) -> tuple[VectorResult, ...]:
        """Instant queries, all at once and within one deadline; the answers in the same order. Never raises.

        Args:
            exprs: PromQL.
            at: the moment to evaluate them for (Unix seconds); None: now.
        """

    async def close(self) -> None:
        """Release connections and threads. Never raises."""
