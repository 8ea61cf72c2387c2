"""One criu at work: started, watched, and killed with everything that it started.

A criu that restores dies with whoever started it. One that dumps does not, and is never killed at any odd moment: while
it makes a task execute system calls for it, that task has other registers and code than its own, and would run on with
them (measured: one kill in twenty of a 65 ms dump ended the original by SIGTRAP; ADR 18).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from .. import proc
from ..kernel import MOUNT_NAMESPACE, PID_NAMESPACE, die_with_parent, enter_namespace
from ..lease import boottime
from ..reaper import descendants, kill_tree, signal_one
from ..stopping import stopped

__all__ = ["Execution", "complaint", "end_between"]

_INSIDE_TASKS = {"x86_64": {"61", "101", "247"}, "aarch64": {"95", "117", "260"}}
"""wait4, ptrace and waitid (the kernel's tables of system calls): between two of these a task is not itself."""
_PAUSE_S = 0.001

_MESSAGE_LIMIT = 600
_HARMLESS = "rlimit: Can't setup RLIMIT_NOFILE"


class Execution:
    """A child process. Its end is seen through `descriptor` (a pidfd), and taken by `poll` or, as `status`, by others.

    `status` is that of waitpid(2), None while it runs.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: str,
        *,
        passed: Sequence[int] = (),
        beside: int | None = None,
        bound: bool = True,
        terminal: int | None = None,
    ) -> None:
        """Start it, with its words going to the file `log`, appended. Raises OSError.

        `passed` are descriptors that it keeps, `beside` is a process whose pid and mount namespaces it enters, `bound`
        says that it dies with us. `terminal` is its input, and that of our session, which it then stays in.
        """
        self.status: int | None = None
        self._beside = beside is not None
        namespaces = _namespaces(beside)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        parent = os.getpid()
        try:
            self.pid = os.fork()
            if self.pid == 0:
                streams = _Streams(output, terminal)
                _last_words(lambda: _child(argv, streams, passed, namespaces, parent if bound else None))
        finally:
            for descriptor in (output, *(descriptor for descriptor, _ in namespaces)):
                os.close(descriptor)
        self.descriptor = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """The status once it has ended, None before."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status

    def wait(self, limit_s: float) -> int | None:
        """The status, or None when it still runs after so long."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        poll.poll(max(0.0, limit_s) * 1000)
        return self.poll()

    def kill(self) -> None:
        """End it and all that it started; returns when it is gone."""
        if self.status is None:
            kill_tree(self.pid)
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # what it forked meanwhile; its number is not given away yet
            _, self.status = os.waitpid(self.pid, 0)

    def kill_between(self, limit_s: float) -> None:
        """End a dump at a moment when it has nothing of its own inside a task: then a task just runs on.

        After the limit at any moment. Tried with criu stopped: what is seen then still holds at the kill.
        """
        if self.poll() is None:
            end_between(self._criu(), limit_s)
        self.kill()

    def _criu(self) -> proc.Stat:
        """The process itself: our child's child where it works in other namespaces."""
        below = descendants(self.pid) if self._beside else []
        found = below[0] if below else proc.read_stat(self.pid)
        assert found is not None  # not reaped yet
        return found

    def close(self) -> None:
        """Give the handle back; what still runs is killed."""
        if self.descriptor >= 0:
            self.kill()
            os.close(self.descriptor)
            self.descriptor = -1


def end_between(victim: proc.Stat, limit_s: float) -> None:
    """Stop a criu at a moment when it has nothing of its own inside a task, and kill it there. See `kill_between`."""
    deadline = boottime() + limit_s
    while proc.same(victim.pid, victim.start_ticks) and boottime() < deadline:
        signal_one(victim, signal.SIGSTOP)
        while not stopped(victim.pid) and boottime() < deadline:
            select.select([], [], [], _PAUSE_S)
        if _outside_of_tasks(victim.pid):
            break
        signal_one(victim, signal.SIGCONT)
        select.select([], [], [], _PAUSE_S)
    signal_one(victim, signal.SIGKILL)


def _namespaces(beside: int | None) -> list[tuple[int, int]]:
    """Open descriptors on them; the mount namespace last, because its /proc is another one."""
    if beside is None:
        return []
    kinds = (("pid", PID_NAMESPACE), ("mnt", MOUNT_NAMESPACE))
    return [(os.open(f"/proc/{beside}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in kinds]


def _last_words(work: Callable[[], None]) -> NoReturn:
    """Run the child's part; an exception must not go back into the parent's code."""
    try:
        work()
    except BaseException:  # noqa: BLE001 (the last frame of a process: leave a trace, then end)
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(127)


class _Streams(NamedTuple):
    output: int
    terminal: int | None


def _child(
    argv: Sequence[str], streams: _Streams, passed: Sequence[int], namespaces: list[tuple[int, int]], parent: int | None
) -> None:
    if streams.terminal is None:
        os.setsid()
        given = os.open("/dev/null", os.O_RDONLY)
    else:
        os.setpgid(0, 0)
        given = streams.terminal
    if parent is not None:
        die_with_parent(parent)
    for descriptor, number in ((given, 0), (streams.output, 1), (streams.output, 2)):
        os.dup2(descriptor, number)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be inherited
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if namespaces:
        _inside(namespaces, bound=parent is not None)
    for descriptor in passed:
        os.set_inheritable(descriptor, True)
    os.execve(argv[0], list(argv), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})  # noqa: S606 (no shell is the point)


def _inside(namespaces: list[tuple[int, int]], *, bound: bool) -> None:
    """Go on as a child in those namespaces; this process only passes on how that one ends."""
    for descriptor, kind in namespaces:
        enter_namespace(descriptor, kind)
    child = os.fork()
    if child != 0:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    if bound:
        die_with_parent(0)


def _outside_of_tasks(pid: int) -> bool:
    """Whether a stopped criu was in, or has just left, a system call that concerns no task (proc_pid_syscall(5))."""
    try:
        number = proc.read_bytes(f"/proc/{pid}/syscall").split()[0].decode("ascii")
    except (OSError, IndexError):
        return True  # it has ended
    return number.isdigit() and number not in _INSIDE_TASKS.get(os.uname().machine, {number})


def complaint(log: str) -> str:
    """What criu's log gives as the cause: its last errors, the first of which usually is the one that counts."""
    try:
        with open(log, "rb") as stream:
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return "criu left no log"
    errors = [line.split("): ", 1)[-1].strip() for line in text.splitlines() if "Error (" in line]
    errors = [error for error in errors if not error.startswith(_HARMLESS)]
    return "; ".join(errors[:4])[:_MESSAGE_LIMIT] or "criu's log names no error"
