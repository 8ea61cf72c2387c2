"""A node behind SSH: one connection, shared by everything that runs there, made again when it was lost.

paramiko blocks, so it lives in threads of this host alone: a dead node keeps its own threads waiting, nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import paramiko

from offloader.adapters.attached import AttachedCommand
from offloader.adapters.chunks import ChunkInbox
from offloader.adapters.commands import default_environment
from offloader.adapters.lines import LineInbox
from offloader.adapters.ssh.client import client_argv
from offloader.adapters.ssh.clientconfig import destination
from offloader.adapters.ssh.connection import Connection, connect
from offloader.adapters.ssh.session import Session, SessionRefused, command_line, kill_line
from offloader.adapters.ssh.settings import SshSettings
from offloader.errors import NodeUnreachable
from offloader.ports import Attached, ByteChannel, Completed, LineChannel

__all__ = ["SshHost"]

_T = TypeVar("_T")
_RUN_SLOTS = 2  # of max_sessions: kept free of long-lived channels, so that commands always get through
_SPARE_S = 2.0  # added to the time limit that a command carries with it: ours comes first
_PID_S = 0.5  # how long to wait for the pid of a command that is to be ended
_KILL_S = 1.5
_BUSY_FIRST_S, _BUSY_LAST_S = 0.02, 0.7  # pauses, each twice the one before
_LOST = (SessionRefused, OSError, EOFError, paramiko.SSHException)  # what a connection that is gone looks like
_CLOSE_GRACE_S = 1.0  # how long a command may take to end once its stdin is closed


_ChannelT = TypeVar("_ChannelT", bound="_SshPipes")
_Kind = Callable[["SshHost", Session, str, contextlib.AsyncExitStack], _ChannelT]


class SshHost:
    """ports.Host: a node behind SSH. Belongs to one event loop."""

    def __init__(self, name: str, settings: SshSettings) -> None:
        """Args: name: in the cluster configuration. Nothing is contacted or read yet."""
        self._name = name
        self._settings = settings
        self._sessions = asyncio.Semaphore(settings.max_sessions)
        self._channels = asyncio.Semaphore(max(1, settings.max_sessions - _RUN_SLOTS))
        self._threads = ThreadPoolExecutor(2 * settings.max_sessions + 4, thread_name_prefix=f"ssh-{name}")
        self._connecting: asyncio.Task[Connection] | None = None
        self._in_use = 0
        self._idle: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The node's name in the cluster configuration."""
        return self._name

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 10.0) -> Completed:
        """Run to the end.

        Raises:
            NodeUnreachable: no connection, connection lost, too late, too much output; the command is ended too, at
                once where the node can be reached, else by its own limit there.
        """
        command = command_line(argv, at_most_s=timeout_s + _SPARE_S, sudo=self._settings.sudo)
        stage = "could not be started"
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection()  # before queueing: all who wait for a dead node hear of it together
                async with self._sessions:
                    session = await self._start(command, timeout_s)
                    stage = "did not end"
                    return await self._complete(session, argv, stdin)
        except TimeoutError:
            raise NodeUnreachable(f"{self._name}: {_brief(argv)} {stage} within {timeout_s:g} s") from None

    async def open(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> LineChannel:
        """Start a command for line traffic. Raises NodeUnreachable when it cannot be started in time."""
        return await self._open(_SshChannel, argv, timeout_s)

    async def stream(self, argv: Sequence[str], *, timeout_s: float = 10.0) -> ByteChannel:
        """Start a command for raw bytes. Raises NodeUnreachable when it cannot be started in time."""
        return await self._open(_SshStream, argv, timeout_s)

    async def attach(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Attached:
        """Start a command with its streams tied to these descriptors, by a connection of its own: OpenSSH's client.

        Raises NodeUnreachable: there is no such client here. That it cannot connect shows in what it has to say.
        """
        program = shutil.which("ssh")
        if program is None:
            raise NodeUnreachable(f"{self._name}: bulk goes by OpenSSH's client, and there is no `ssh` in PATH here")
        environment = default_environment()
        if "SSH_AUTH_SOCK" in os.environ:
            environment["SSH_AUTH_SOCK"] = os.environ["SSH_AUTH_SOCK"]
        made = AttachedCommand(
            client_argv(program, self._settings, argv),
            environment,
            stdin=stdin,
            stdout=stdout,
            described=f"{self._name}: {_brief(argv)}",
        )
        await made.connect()
        return made

    async def _open(self, kind: _Kind[_ChannelT], argv: Sequence[str], timeout_s: float) -> _ChannelT:
        command = command_line(argv, at_most_s=None, sudo=self._settings.sudo)
        try:
            async with asyncio.timeout(timeout_s), contextlib.AsyncExitStack() as slots:
                await self._connection()
                await slots.enter_async_context(self._channels)
                await slots.enter_async_context(self._sessions)
                session = await self._start(command, timeout_s, errors_tail=True)
                return kind(self, session, f"{self._name}: {_brief(argv)}", slots.pop_all())
        except TimeoutError:
            raise NodeUnreachable(f"{self._name}: {_brief(argv)} could not be started within {timeout_s:g} s") from None

    async def close(self) -> None:
        """Close the connection with everything on it. The next use connects again."""
        if self._idle is not None:
            self._idle.cancel()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            with contextlib.suppress(NodeUnreachable):
                await self.in_thread((await connecting).close)

    async def in_thread(self, call: Callable[[], _T]) -> _T:
        """Run something that blocks in a thread of this host."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def end(self, session: Session) -> None:
        """Kill what still runs in a session, and release its channel."""
        pid = await self.in_thread(partial(session.wait_for_pid, _PID_S))
        if pid is not None and session.connection.alive:
            with contextlib.suppress(*_LOST, TimeoutError, NodeUnreachable):
                async with asyncio.timeout(_KILL_S):
                    await self._kill(session.connection, pid)
        await self.release(session)

    async def release(self, session: Session) -> None:
        """Close a session's channel; the last one starts the idle time."""
        self._in_use -= 1
        if self._in_use == 0:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._settings.idle_timeout_s, self._drop_idle)
        await self.in_thread(session.close)

    async def _complete(self, session: Session, argv: Sequence[str], stdin: bytes) -> Completed:
        """Feed and read a started command until its end."""
        loop = asyncio.get_running_loop()
        output = bytearray()
        over: asyncio.Future[int | None] = loop.create_future()
        limit = self._settings.output_limit_bytes

        def settle(result: int | Exception | None) -> None:
            if not over.done():
                over.set_exception(result) if isinstance(result, Exception) else over.set_result(result)

        def check(size: int) -> None:
            if size > limit:
                settle(NodeUnreachable(f"{self._name}: {_brief(argv)} wrote more than {limit} bytes"))

        def take(data: bytes) -> None:
            output.extend(data)
            session.give_credit()
            check(len(output))

        session.start_reading(loop, take, check, settle)
        feeding = loop.run_in_executor(self._threads, _feed, session, stdin)
        status: int | None = None
        try:
            status = await over
        except BaseException:
            await asyncio.shield(self.end(session))
            raise
        finally:
            feeding.cancel()
        await self.release(session)
        if status is None:
            raise NodeUnreachable(
                f"{self._name}: connection lost while {_brief(argv)} ran: whether it ended is not known"
            )
        if self._settings.sudo and status and session.pid is None:  # it was never started
            raise NodeUnreachable(
                f"{self._name}: sudo lets nobody become root there without a password: {_last_words(session.errors)}; "
                "it takes a rule with NOPASSWD for the account that is logged in as (sudoers(5))"
            )
        return Completed(_returncode(status), bytes(output), session.errors)

    async def _start(self, command: bytes, timeout_s: float, *, errors_tail: bool = False) -> Session:
        """A session with the command running in it; on a new connection where the old one turns out to be gone."""
        self._in_use += 1
        if self._idle is not None:
            self._idle.cancel()
        try:
            connection = await self._connection()
            try:
                return await self._session_when_free(connection, command, timeout_s, errors_tail=errors_tail)
            except SessionRefused:
                # Slow is not lost: others may be in the middle of something on this connection.
                if connection.alive and self._in_use > 1:
                    raise
                await self._forget(connection)
            connection = await self._connection()
            return await self._session_when_free(connection, command, timeout_s, errors_tail=errors_tail)
        except BaseException as error:
            self._in_use -= 1
            if isinstance(error, _LOST):
                raise NodeUnreachable(f"{self._name}: nothing can be started: {_said(error)}") from error
            raise

    async def _session_when_free(
        self, connection: Connection, command: bytes, timeout_s: float, *, errors_tail: bool
    ) -> Session:
        """Ask again for a while when the server refuses: it counts sessions for a moment after they have ended.

        Raises:
            NodeUnreachable: it goes on refusing.
            SessionRefused, OSError, EOFError, paramiko.SSHException: as Session.
        """
        pause = _BUSY_FIRST_S
        while True:
            try:
                return await self._session(connection, command, timeout_s, errors_tail=errors_tail)
            except SessionRefused as refused:
                if not refused.answered:
                    raise
                if pause > _BUSY_LAST_S:
                    raise NodeUnreachable(
                        f"{self._name}: the SSH server refuses further sessions ({refused}): raise MaxSessions in "
                        f"sshd_config there above {self._settings.max_sessions + 1}"
                    ) from refused
            await asyncio.sleep(pause)
            pause *= 2

    async def _session(self, connection: Connection, command: bytes, timeout_s: float, *, errors_tail: bool) -> Session:
        """Start it in a thread; if nobody waits any more when it has started, it is ended."""
        loop = asyncio.get_running_loop()
        patience = min(timeout_s, self._settings.connect_timeout_s)
        make = partial(Session, connection, command, patience, errors_tail=errors_tail)
        starting = loop.run_in_executor(self._threads, make)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._close_late)
            raise

    def _close_late(self, starting: asyncio.Future[Session]) -> None:
        """A session that started after its caller had gone: its command ends by its own limit or lack of input."""
        if not starting.cancelled() and starting.exception() is None:
            self._threads.submit(starting.result().close)

    async def _connection(self) -> Connection:
        """The shared connection. Whoever comes while one is being made waits for it."""
        if self._connecting is not None and self._connecting.done() and not _usable(self._connecting):
            self._connecting = None
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(_retrieve)
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Connection:
        def make() -> Connection:
            return connect(self._name, destination(self._settings), self._settings)

        return await self.in_thread(make)

    async def _forget(self, connection: Connection) -> None:
        if self._connecting is not None and self._connecting.done() and _usable(self._connecting, connection):
            self._connecting = None
        await self.in_thread(connection.close)

    def _drop_idle(self) -> None:
        connecting = self._connecting
        if self._in_use == 0 and connecting is not None and connecting.done():
            self._connecting = None
            if _usable(connecting):
                self._threads.submit(connecting.result().close)

    async def _kill(self, connection: Connection, pid: int) -> None:
        """Through a channel beyond max_sessions: ending something must not wait for what runs."""
        session = await self._session_when_free(
            connection, kill_line(pid, sudo=self._settings.sudo), _KILL_S, errors_tail=True
        )
        ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        session.start_reading(
            asyncio.get_running_loop(), lambda _: session.give_credit(), lambda _: None, partial(_settle_once, ended)
        )
        try:
            await ended
        finally:
            await self.in_thread(session.close)


class _SshPipes:
    """What both kinds of channels have in common: a session, read as fast as its reader takes it."""

    def __init__(
        self,
        host: SshHost,
        session: Session,
        described: str,
        slots: contextlib.AsyncExitStack,
        inbox: type[LineInbox | ChunkInbox],
    ) -> None:
        self._host = host
        self._session = session
        self._described = described
        self._slots = slots
        self._owed = 0  # pieces of output whose credit is kept back while the reader is behind
        self._behind = False
        self._closed = False
        self._sending = asyncio.Lock()
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int | None] = loop.create_future()
        self._inbox = inbox(on_full=self._hold, on_room=self._go_on)
        session.start_reading(loop, self._take, lambda _: None, self._end)

    async def close(self) -> None:
        """Close its stdin, give it a moment to end by itself, then end it."""
        if self._closed:
            return
        self._closed = True
        await asyncio.shield(self._close())

    async def _close(self) -> None:
        self._go_on()
        await self._host.in_thread(self._session.end_input)
        await asyncio.wait({self._ended}, timeout=_CLOSE_GRACE_S)
        if self._ended.done():
            await self._host.release(self._session)
        else:
            await self._host.end(self._session)
        self._inbox.end()
        await self._slots.aclose()

    def _take(self, data: bytes) -> None:
        if not data:
            self._inbox.end()
            return
        self._inbox.feed(data)
        if self._behind and not self._closed:
            self._owed += 1
        else:
            self._session.give_credit()

    def _hold(self) -> None:
        self._behind = True

    def _go_on(self) -> None:
        self._behind = False
        owed, self._owed = self._owed, 0
        if owed:
            self._session.give_credit(owed)

    def _end(self, status: int | None) -> None:
        _settle_once(self._ended, status)

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            if not self._closed and not self._ended.done():
                with contextlib.suppress(OSError):
                    await self._host.in_thread(partial(self._session.send, data))
                    return
        said = self._session.errors.decode("utf-8", "replace").strip()
        raise NodeUnreachable(f"{self._described} has ended, or the connection was lost: {said or 'it said nothing'}")


class _SshChannel(_SshPipes):
    """ports.LineChannel over a session."""

    _inbox: LineInbox

    def __init__(self, host: SshHost, session: Session, described: str, slots: contextlib.AsyncExitStack) -> None:
        super().__init__(host, session, described, slots, LineInbox)

    async def send(self, line: bytes) -> None:
        """Write one line; waits while the command does not read."""
        if b"\n" in line:
            raise ValueError("a line must not contain a newline")
        await self._write(line + b"\n")

    def lines(self) -> AsyncIterator[bytes]:
        """Lines as they arrive; ends when the command closes its stdout or the connection is lost."""
        return self._inbox.lines()


class _SshStream(_SshPipes):
    """ports.ByteChannel over a session."""

    _inbox: ChunkInbox

    def __init__(self, host: SshHost, session: Session, described: str, slots: contextlib.AsyncExitStack) -> None:
        super().__init__(host, session, described, slots, ChunkInbox)

    async def send(self, data: bytes) -> None:
        """Write; waits while the command does not read."""
        await self._write(data)

    def chunks(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive; ends when the command closes its stdout or the connection is lost."""
        return self._inbox.chunks()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _last_words(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def _feed(session: Session, stdin: bytes) -> None:
    """All of stdin, then its end. A command that does not read to the end is no error."""
    with contextlib.suppress(OSError):
        session.send(stdin)
    session.end_input()


def _settle_once(future: asyncio.Future[int | None], status: int | None) -> None:
    if not future.done():
        future.set_result(status)


def _usable(connecting: asyncio.Task[Connection], which: Connection | None = None) -> bool:
    """Whether a finished attempt gave a connection that is still there (or: gave this one)."""
    if connecting.cancelled() or connecting.exception() is not None:
        return False
    return connecting.result().alive if which is None else connecting.result() is which


def _retrieve(connecting: asyncio.Task[Connection]) -> None:
    """Look at the outcome even if everybody who waited was cancelled: asyncio complains about unseen exceptions."""
    if not connecting.cancelled():
        connecting.exception()


def _returncode(status: int) -> int:
    """As subprocess has it: negative for a signal. 128 + n is how shells say that signal n ended a command."""
    return 128 - status if 128 < status <= 192 else status  # noqa: PLR2004 - there are 64 signals


def _brief(argv: Sequence[str]) -> str:
    """Enough of a command to recognise it in a message."""
    words = " ".join(argv[:3]).encode("utf-8", "backslashreplace").decode()
    return f"`{textwrap.shorten(words, 80, placeholder=' ...')}`"
