"""A command whose stdin and stdout are descriptors that it was given: bytes that concern two commands pass us by.

What it has to say comes on stderr, line by line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence

from offloader.adapters.lines import LineInbox
from offloader.errors import NodeUnreachable

__all__ = ["AttachedCommand"]

_DEATH_S = 2.0


class AttachedCommand:
    """ports.Attached: a child of ours, the leader of a session of its own. Belongs to one event loop."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], *, stdin: int, stdout: int, described: str
    ) -> None:
        """Start it; the descriptors stay ours too. Raises NodeUnreachable."""
        try:
            self._process = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise NodeUnreachable(f"{described} cannot be started: {error.strerror or error}") from error
        loop = asyncio.get_running_loop()
        self._inbox = LineInbox()
        self._transport: asyncio.BaseTransport | None = None
        self._pidfd = os.pidfd_open(self._process.pid)
        self.exited: asyncio.Future[int] = loop.create_future()
        loop.add_reader(self._pidfd, self._reap)

    async def connect(self) -> None:
        """Listen to it from now on."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: _Lines(self._inbox), self._process.stderr)
        self._transport = transport

    def lines(self) -> AsyncIterator[bytes]:
        """What it writes to stderr, until it closes that."""
        return self._inbox.lines()

    async def close(self) -> None:
        """End it, and everything in its process group. Never raises."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.wait({self.exited}, timeout=_DEATH_S)
        if self._transport is not None:
            self._transport.close()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._inbox.end()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.exited.set_result(self._process.wait())


class _Lines(asyncio.Protocol):
    """stderr, into an inbox."""

    def __init__(self, inbox: LineInbox) -> None:
        self._inbox = inbox

    def data_received(self, data: bytes) -> None:
        self._inbox.feed(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._inbox.end()
