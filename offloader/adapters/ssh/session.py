"""One command on the node: started through the login shell there, read by a thread, ended for certain.

sshd leaves a command running when its channel goes away, and tells nobody its pid. So the command line that we send
writes the pid of its session's leader to stderr first, by which it can be killed through another channel; and `run`
puts timeout(1) around it, which ends it when we no longer can, because the connection is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import shlex
import threading
import time
from collections.abc import Callable, Sequence

import paramiko

from offloader.adapters.ssh.connection import Connection

__all__ = ["Session", "SessionRefused", "command_line", "kill_line"]

_MARK = "grid-offloader-pid"
_PID = re.compile(rb"^%s (\d+)\n" % _MARK.encode(), re.MULTILINE)
_TAIL_BYTES = 4096
_CHUNK = 1 << 16
_CREDIT = 32  # chunks on their way to the event loop, each up to _CHUNK bytes
_LINGER_S = 1.0  # how long to wait for output that others hold open after the command itself has ended
_POLL_S = 0.25  # the exit status alone wakes no reader: only needed where output lingers


class SessionRefused(Exception):
    """The connection gave no channel: nothing was started, so it may be tried again, or on another connection."""

    def __init__(self, message: str, *, answered: bool) -> None:
        """Args: answered: the server said no, rather than nothing."""
        self.answered = answered
        super().__init__(message)


# In a session of its own: sudo stays in between, and what it starts is to lead a process group. Never with a password:
# it would have to pass through here.
_SUDO = ("sudo", "-n", "--")
_LEADING = ("setsid", "-w")


def command_line(argv: Sequence[str], *, at_most_s: float | None, sudo: bool = False) -> bytes:
    """What the login shell there is given: every argument quoted for POSIX shells, bytes as they are (surrogateescape).

    The shell becomes a program that tells its pid and then is the command; with a limit, timeout(1) leads the process
    group, and a shell below it turns death by signal n into exit status 128 + n (SSH libraries drop signals). With
    `sudo` all of that is root's.
    """
    if not argv:
        raise ValueError("a command needs at least its program")
    words = ["sh", "-c", f'echo "{_MARK} $$" >&2; exec "$@"', "grid-offloader"]
    if at_most_s is not None:
        words += ["timeout", "-s", "KILL", str(math.ceil(at_most_s)), "sh", "-c", '"$@"; exit $?', "grid-offloader"]
    before = (*_SUDO, *_LEADING) if sudo else ()
    return b"exec " + shlex.join([*before, *words, *argv]).encode("utf-8", "surrogateescape")


def kill_line(pid: int, *, sudo: bool = False) -> bytes:
    """Ends the process group of that leader."""
    return f"exec {shlex.join([*(_SUDO if sudo else ()), 'sh', '-c', f'kill -s KILL -- -{pid}'])}".encode()


class Session:
    """A channel that executes one command, and the threads that read it.

    Two of them, blocking: the descriptor that paramiko offers for polling is not safe against a close meanwhile.

    Callbacks run in the event loop. Output that nobody acknowledges by `give_credit` stops the reading.
    """

    def __init__(self, connection: Connection, command: bytes, timeout_s: float, *, errors_tail: bool = False) -> None:
        """Start it. Blocking.

        Args:
            connection: what to run it on.
            command: as `command_line` makes it.
            timeout_s: for opening the channel.
            errors_tail: keep only the end of stderr.

        Raises:
            SessionRefused: no channel; nothing was started.
            paramiko.SSHException, EOFError, OSError: lost while starting: it may or may not run.
        """
        self.connection = connection
        began = time.monotonic()
        try:
            self._channel = connection.transport.open_session(timeout=timeout_s)
        except (paramiko.SSHException, EOFError, OSError) as error:
            # By the time it took: which exception we get is up to chance when several threads are refused at once.
            answered = connection.alive and time.monotonic() - began < timeout_s
            raise SessionRefused(str(error) or "connection lost", answered=answered) from error
        try:
            self._channel.settimeout(_POLL_S)
            self._channel.exec_command(command)
        except BaseException:
            self._channel.close()
            raise
        self._credit = threading.Semaphore(_CREDIT)
        self._errors_tail = errors_tail
        self._errors = bytearray()
        self.pid: int | None = None  # of the leader of its process group on the node, once known
        self._identified = threading.Event()

    def wait_for_pid(self, timeout_s: float) -> int | None:
        """The pid, as soon as the node told it; None: not in time, or it never will. Blocking."""
        self._identified.wait(timeout_s)
        return self.pid

    @property
    def errors(self) -> bytes:
        """What it wrote to stderr so far, without our own line."""
        return bytes(self._errors)

    def start_reading(
        self,
        loop: asyncio.AbstractEventLoop,
        on_output: Callable[[bytes], None],
        on_errors: Callable[[int], None],
        on_end: Callable[[int | None], None],
    ) -> None:
        """Read until it ends.

        Args:
            loop: where the callbacks run.
            on_output: a piece of stdout, answered by `give_credit` sooner or later; empty: stdout has ended.
            on_errors: how many bytes of stderr there are now (in `errors`).
            on_end: the exit status; None: the channel or the connection is gone, nothing is known.
        """
        reader = threading.Thread(
            target=self._read, args=(loop, on_output, on_errors, on_end), name="ssh-reader", daemon=True
        )
        reader.start()

    def give_credit(self, chunks: int = 1) -> None:
        """So many pieces of output were taken."""
        self._credit.release(chunks)

    def send(self, data: bytes) -> None:
        """Write to its stdin; waits while it does not read. Raises OSError when it is gone. Blocking."""
        rest = memoryview(data)
        while rest:
            with contextlib.suppress(TimeoutError), self._turn():
                sent = self._channel.send(bytes(rest[:_CHUNK]))
                if sent == 0:
                    raise BrokenPipeError("its stdin is closed")
                rest = rest[sent:]

    def end_input(self) -> None:
        """Close its stdin. Blocking; never raises."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException), self._turn():
            self._channel.shutdown_write()

    def close(self) -> None:
        """Release the channel. What runs is not ended by this. Blocking; never raises."""
        self._credit.release(_CREDIT)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException), self._turn():
            self._channel.close()

    def _turn(self) -> contextlib.AbstractContextManager[None]:
        """Nothing may be sent after the channel was closed, by us or in answer to the server."""
        return self.connection.transport.turn(self._channel)

    def _read(
        self,
        loop: asyncio.AbstractEventLoop,
        on_output: Callable[[bytes], None],
        on_errors: Callable[[int], None],
        on_end: Callable[[int | None], None],
    ) -> None:
        def take_output(data: bytes) -> None:
            self._credit.acquire()
            loop.call_soon_threadsafe(on_output, data)

        def take_errors(data: bytes) -> None:
            self._keep_errors(data)
            loop.call_soon_threadsafe(on_errors, len(self._errors))

        errors = threading.Thread(
            target=self._drain, args=(self._channel.recv_stderr, take_errors), name="ssh-errors", daemon=True
        )
        errors.start()
        try:
            self._drain(self._channel.recv, take_output)
            errors.join()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is interested any more
                loop.call_soon_threadsafe(on_output, b"")
                status = self._channel.recv_exit_status()
                loop.call_soon_threadsafe(on_end, status if status >= 0 else None)
        finally:
            self._identified.set()
            self.close()

    def _drain(self, receive: Callable[[int], bytes], take: Callable[[bytes], None]) -> None:
        """One output until it ends, or the command has ended and others keep it open."""
        exited_at: float | None = None
        while exited_at is None or time.monotonic() - exited_at < _LINGER_S:
            try:
                data = receive(_CHUNK)
                if not data:
                    return
                take(data)
            except TimeoutError:
                pass  # a moment to look around
            except (OSError, EOFError, paramiko.SSHException, RuntimeError):
                return  # connection lost, or the loop is closed
            if exited_at is None and self._channel.exit_status_ready():
                exited_at = time.monotonic()

    def _keep_errors(self, data: bytes) -> None:
        self._errors += data
        if self.pid is None and (found := _PID.search(self._errors)):
            self.pid = int(found[1])
            self._identified.set()
            del self._errors[found.start() : found.end()]
        if self._errors_tail:
            del self._errors[:-_TAIL_BYTES]
