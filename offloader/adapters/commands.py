"""Commands on this machine: the only place that starts processes.

Every command is the leader of a session of its own with a minimal environment, so that it can be ended with everything
that it started, and inherits nothing of ours by accident. Its exit is learned from a pidfd and it is reaped only then:
until that its process group cannot be anybody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import pwd
import signal
import subprocess
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from offloader.adapters.attached import AttachedCommand
from offloader.adapters.chunks import ChunkInbox
from offloader.adapters.lines import LineInbox
from offloader.errors import NodeUnreachable
from offloader.ports import Attached, ByteChannel, Completed, LineChannel

__all__ = ["Account", "LocalHost", "default_environment"]

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)
_ChannelT = TypeVar("_ChannelT", bound="_LocalPipes")

OUTPUT_LIMIT_BYTES = 32 << 20
_LINGER_S = 1.0  # how long to wait for output that others hold open after the command itself has ended
_CLOSE_GRACE_S = 1.0  # how long a command may take to end once its stdin is closed
_DEATH_S = 2.0  # a killed process that is not gone then hangs in the kernel: it is reaped whenever it comes back
_STDERR_TAIL_BYTES = 4096


def default_environment() -> dict[str, str]:
    """What a command gets: PATH, HOME, LANG. Nothing else of ours, tokens least of all."""
    return {
        "PATH": os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": pwd.getpwuid(os.geteuid()).pw_dir,
        "LANG": "C.UTF-8",
    }


@dataclass(frozen=True, slots=True)
class Account:
    """Whose rights a command gets, nothing else left. Only root can give any but its own."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class LocalHost:
    """ports.Host: this machine."""

    def __init__(
        self,
        name: str,
        *,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
        output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> None:
        """What is the same for all its commands.

        Args:
            name: in the cluster configuration.
            environment: theirs.
            account: whose rights they get; None: our own.
            output_limit_bytes: for each of stdout and stderr of `run`.
        """
        self._account = account
        self._name = name
        self._environment = dict(default_environment() if environment is None else environment)
        self._output_limit = output_limit_bytes

    @property
    def name(self) -> str:
        """The node's name in the cluster configuration."""
        return self._name

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 10.0) -> Completed:
        """Run to the end. A program that cannot be started gives 127 or 126, as it would behind SSH.

        Raises:
            NodeUnreachable: not ended in time, or it wrote too much (it was ended, with what it had started).
        """
        try:
            child = _Child(argv, self._environment, with_stdin=bool(stdin), account=self._account)
        except OSError as error:
            return _not_started(argv, error)
        output, errors = _Collected(self._output_limit), _Collected(self._output_limit)
        try:
            async with asyncio.timeout(timeout_s):
                await child.connect(output, errors)
                child.stdin.write(stdin)
                child.stdin.end()
                stops: tuple[asyncio.Future[Any], ...] = (child.exited, output.overflown, errors.overflown)
                await asyncio.wait(stops, return_when=asyncio.FIRST_COMPLETED)
                if output.overflown.done() or errors.overflown.done():
                    raise NodeUnreachable(f"{self._name}: {_brief(argv)} wrote more than {self._output_limit} bytes")
                await asyncio.wait({output.ended, errors.ended}, timeout=_LINGER_S)
                return Completed(child.exited.result(), bytes(output.data), bytes(errors.data))
        except TimeoutError:
            raise NodeUnreachable(f"{self._name}: {_brief(argv)} did not end within {timeout_s:g} s") from None
        finally:
            await child.finish()

    async def open(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> LineChannel:
        """Start a command for line traffic. Raises NodeUnreachable when it cannot be started."""
        return await self._open(_LocalChannel, argv, timeout_s)

    async def stream(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> ByteChannel:
        """Start a command for raw bytes. Raises NodeUnreachable when it cannot be started."""
        return await self._open(_LocalStream, argv, timeout_s)

    async def attach(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Attached:
        """Start a command with its streams tied to these descriptors. Raises NodeUnreachable."""
        described = f"{self._name}: {_brief(argv)}"
        made = AttachedCommand(argv, self._environment, stdin=stdin, stdout=stdout, described=described)
        await made.connect()
        return made

    async def _open(self, kind: Callable[[_Child, str], _ChannelT], argv: Sequence[str], timeout_s: float) -> _ChannelT:
        try:
            child = _Child(argv, self._environment, with_stdin=True, account=self._account)
        except OSError as error:
            reason = error.strerror or str(error)
            raise NodeUnreachable(f"{self._name}: {_brief(argv)} cannot be started: {reason}") from error
        channel = kind(child, f"{self._name}: {_brief(argv)}")
        try:
            async with asyncio.timeout(timeout_s):
                await channel.connect()
        except BaseException:
            await child.finish()
            raise
        return channel


class _Child:
    """A started command: its pipes, its end."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], *, with_stdin: bool, account: Account | None
    ) -> None:
        """Raises OSError when the program cannot be executed."""
        if not argv:
            raise ValueError("a command needs at least its program")
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if with_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
            bufsize=0,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=account.groups if account else None,
        )
        self._loop = asyncio.get_running_loop()
        self._reading: list[asyncio.BaseTransport] = []
        self.stdin = _Input()
        self._pidfd = os.pidfd_open(self._process.pid)
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.exited.set_result(self._process.wait())

    async def connect(self, output: asyncio.Protocol, errors: asyncio.Protocol) -> None:
        """Read stdout and stderr from now on, write to `self.stdin` if it has one."""
        for pipe, protocol in ((self._process.stdout, output), (self._process.stderr, errors)):
            transport, _ = await self._loop.connect_read_pipe(functools.partial(_same, protocol), pipe)
            self._reading.append(transport)
        if self._process.stdin is not None:
            await self._loop.connect_write_pipe(functools.partial(_same, self.stdin), self._process.stdin)

    def kill(self) -> None:
        """End it and everything in its process group, now. Ended already: nothing happens."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def finish(self) -> None:
        """End it if it still runs, wait until it is gone, close the pipes."""
        self.kill()
        try:
            await asyncio.wait({self.exited}, timeout=_DEATH_S)
        finally:
            self.stdin.abort()
            for transport in self._reading:
                transport.close()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()


def _same(protocol: _ProtocolT) -> _ProtocolT:
    """The factory that asyncio asks for, of a protocol that exists already."""
    return protocol


class _Collected(asyncio.Protocol):
    """All of one output, up to a limit."""

    def __init__(self, limit: int) -> None:
        loop = asyncio.get_running_loop()
        self._limit = limit
        self.data = bytearray()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.overflown: asyncio.Future[None] = loop.create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > self._limit and not self.overflown.done():
            self.overflown.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class _Tail(asyncio.Protocol):
    """The end of one output, for error messages."""

    def __init__(self) -> None:
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data = (self._data + data)[-_STDERR_TAIL_BYTES:]

    def text(self) -> str:
        return self._data.decode("utf-8", "replace").strip()


class _Input(asyncio.BaseProtocol):
    """The writing end of stdin: knows when to wait and when the other side has closed."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self.writable = asyncio.Event()

    @property
    def open(self) -> bool:
        return self._transport is not None

    def write(self, data: bytes) -> None:
        """Send, now or as soon as the command reads; closed already: the data is lost."""
        if self._transport is not None:
            self._transport.write(data)

    def end(self) -> None:
        """Close once everything is sent."""
        if self._transport is not None:
            self._transport.write_eof()

    def abort(self) -> None:
        """Close now. A plain close would wait for a buffer to drain into a pipe that nobody reads."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self.writable.set()


class _Output(asyncio.Protocol):
    """stdout, for an inbox; stops reading while nobody takes what is in there."""

    def __init__(self, inbox: type[LineInbox | ChunkInbox]) -> None:
        self._transport: asyncio.ReadTransport | None = None
        self.inbox = inbox(on_full=self._pause, on_room=self._resume)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.inbox.feed(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self.inbox.end()

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()


class _LocalPipes:
    """What both kinds of channels have in common: the pipes of a child."""

    def __init__(self, child: _Child, described: str, inbox: type[LineInbox | ChunkInbox]) -> None:
        self._child = child
        self._described = described
        self._output = _Output(inbox)
        self._inbox = self._output.inbox
        self._errors = _Tail()

    async def connect(self) -> None:
        await self._child.connect(self._output, self._errors)

    async def close(self) -> None:
        """Close its stdin, give it a moment to end by itself, then end it."""
        self._child.stdin.end()
        try:
            await asyncio.wait({self._child.exited}, timeout=_CLOSE_GRACE_S)
        finally:
            await self._child.finish()
            self._inbox.end()

    async def _write(self, data: bytes) -> None:
        self._child.stdin.write(data)
        await self._child.stdin.writable.wait()
        if not self._child.stdin.open:
            raise NodeUnreachable(f"{self._described} has ended: {self._errors.text() or 'it said nothing'}")


class _LocalChannel(_LocalPipes):
    """ports.LineChannel over the pipes of a child."""

    _inbox: LineInbox

    def __init__(self, child: _Child, described: str) -> None:
        super().__init__(child, described, LineInbox)

    async def send(self, line: bytes) -> None:
        """Write one line; waits while the command does not read."""
        if b"\n" in line:
            raise ValueError("a line must not contain a newline")
        await self._write(line + b"\n")

    def lines(self) -> AsyncIterator[bytes]:
        """Lines as they arrive; ends when the command closes its stdout."""
        return self._inbox.lines()


class _LocalStream(_LocalPipes):
    """ports.ByteChannel over the pipes of a child."""

    _inbox: ChunkInbox

    def __init__(self, child: _Child, described: str) -> None:
        super().__init__(child, described, ChunkInbox)

    async def send(self, data: bytes) -> None:
        """Write; waits while the command does not read."""
        await self._write(data)

    def chunks(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive; ends when the command closes its stdout."""
        return self._inbox.chunks()


def _brief(argv: Sequence[str]) -> str:
    """Enough of a command to recognise it in a message."""
    words = " ".join(argv[:3]).encode("utf-8", "backslashreplace").decode()
    return f"`{textwrap.shorten(words, 80, placeholder=' ...')}`"


def _not_started(argv: Sequence[str], error: OSError) -> Completed:
    """What a shell would answer: 127 for no such program, 126 for one that may not or cannot be executed."""
    code = 127 if isinstance(error, FileNotFoundError) else 126
    return Completed(code, b"", f"{_brief(argv)}: {error.strerror}\n".encode())
