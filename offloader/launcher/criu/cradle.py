"""The target's end of a restored job: a process that makes the job's namespaces, restores it there and is its init.

The launcher keeps a socket to that init, and the init ends at once when the socket closes or its parent dies: with
it the kernel kills everything in the pid namespace (pid_namespaces(7)), restored or half restored, stopped or not.

| to the init | answer |
| --- | --- |
| `{"do":"restore", "criu", "images", "options", "inherited", "tasks", "limit_s"}` | `{"event":"restored","took_s"}`: all tasks are there and stopped; or `{"event":"failed","reason","detail"}`: all is dead |
| `{"do":"cont"}` | `{"event":"continued"}`, also when repeated |
| `{"do":"signal","number"}` | none: it goes to the leader's process group |
| unasked, with a terminal | `{"event":"stopped","signal"}`, `{"event":"goes_on"}`: the leader; with `restore`, `foreground` is the process group that has its keys |
| unasked | `{"event":"exited","exit_code","signal"}`: the whole tree has ended; the leader's exit code |
"""  # noqa: E501 (a table)

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from ..kernel import (
    MOUNT_NAMESPACE,
    PID_NAMESPACE,
    die_with_parent,
    enter_namespace,
    leave_namespace,
    mount_private_proc,
)
from ..wire import Document, LineBuffer, encode

__all__ = ["Cradle"]


class Cradle:
    """Started while the job still runs at its source, so that a restore only waits for the image."""

    def __init__(self, task: str, log: Path, *, passed: Sequence[int] = (), terminal: int | None = None) -> None:
        """Fork the init; `passed` are descriptors that restored processes will inherit. Raises OSError.

        `task` (`<job>.<epoch>`) is in its environment: whoever kills by that mark kills all of it. `terminal` is that
        of its session, and of a job that had one.
        """
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._buffer = LineBuffer()
        self._status: int | None = None
        try:
            with theirs:
                inherited = (theirs.fileno(), -1 if terminal is None else terminal, *passed)
                self.pid = _fork_first_of_its_namespace(lambda: _become_init(task, log, inherited))
        except BaseException:
            ours.close()
            raise
        self.pidfd = os.pidfd_open(self.pid)
        ours.setblocking(False)

    @property
    def descriptor(self) -> int:
        """Readable when something was said, or at the end."""
        return self._socket.fileno()

    def send(self, **message: object) -> bool:
        """Tell the init something; False when it is gone."""
        try:
            self._socket.sendall(encode(message))
        except OSError:
            return False
        return True

    def receive(self) -> list[Document] | None:
        """What it said since; None when it has said everything and ends: that it has ended, only `kill` confirms."""
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._buffer.feed(data) if data else None

    def kill(self) -> None:
        """End everything in it; returns when the kernel has confirmed that (the init's end is the last one)."""
        if self._status is None:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            _, self._status = os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Kill what is left and give everything back."""
        if self.pidfd >= 0:
            self.kill()
            self.release()

    def release(self) -> None:
        """Give everything back where somebody else takes the init's end; the closed socket ends one that still is."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self._socket.close()
            self.pidfd = -1


def _fork_first_of_its_namespace(work: Callable[[], None]) -> int:
    """Fork into a fresh pid namespace. Ours stays the old one, also for the next children."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        leave_namespace(PID_NAMESPACE)
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    work()
                except BaseException:  # noqa: BLE001 (the last frame of a process: leave a trace, then end)
                    traceback.print_exc()
                    sys.stderr.flush()
                finally:
                    os._exit(127)
            return pid
        finally:
            enter_namespace(own, PID_NAMESPACE)
    finally:
        os.close(own)


def _become_init(task: str, log: Path, inherited: Sequence[int]) -> None:
    """Execute anew: with an environment, descriptors and memory of its own, whatever the launcher had."""
    die_with_parent(0)  # should it have died already, the socket is closed
    os.setsid()
    leave_namespace(MOUNT_NAMESPACE)
    mount_private_proc()
    nowhere = os.open("/dev/null", os.O_RDWR)
    complaints = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for descriptor, number in ((nowhere, 0), (nowhere, 1), (complaints, 2)):
        os.dup2(descriptor, number)
    for descriptor in inherited:
        if descriptor >= 0:
            os.set_inheritable(descriptor, True)
    package = __package__ or ""
    root = Path(__file__).parents[package.count(".") + 1]
    program = f"import sys; sys.path.insert(0, {str(root)!r}); from {package}.init import main; main(sys.argv[1:])"
    argv = [sys.executable, "-I", "-B", "-c", program, *map(str, inherited)]
    os.execve(sys.executable, argv, {"OFFLOADING_TASK_ID": task, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})  # noqa: S606
