"""The job's parent inside its session: leads it, tells of stops and of the end, and does nothing else.

A job that led the session itself could not be stopped by Ctrl-Z: its process group would be orphaned (no parent in the
same session), and there the kernel throws SIGTSTP away (setpgid(2); POSIX, General Terminal Interface, 11.1.4). So the
keeper leads the session, and the job a process group of its own, in the terminal's foreground.

Both are forked from the stub. Over `report` go lines: `pid N` or `failed ERRNO`, then `stopped N`, `continued`, and at
last `exit N` or `signal N`. Then the keeper waits until `release` is closed: so long the job's pid is nobody else's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import termios
from collections.abc import Mapping, Sequence
from typing import NoReturn

__all__ = ["keep"]

_IGNORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTERM)
_CHANGED = (*_IGNORED, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH)


def keep(
    slave: int,
    argv: Sequence[bytes],
    environ: Mapping[bytes, bytes],
    *,
    streams: Mapping[int, int],
    report: int,
    release: int,
) -> NoReturn:
    """Run in a freshly forked process; never returns.

    Args:
        slave: the terminal.
        argv: the command; its program is looked up in `environ`'s PATH.
        environ: its whole environment.
        streams: descriptors 0, 1, 2 of the job: each the slave, or one that is passed on as it is.
        report: the pipe to write to.
        release: the pipe whose end is waited for.
    """
    status = 1
    try:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for ignored in _IGNORED:
            signal.signal(ignored, signal.SIG_IGN)
        failed, failing = os.pipe()
        job = os.fork()
        if job == 0:
            _become_the_job(slave, argv, environ, streams, failing)
        os.close(failing)
        _group(job, slave)
        signal.signal(signal.SIGHUP, lambda _number, _frame: _hang_up(job))
        _close_all_but(slave, report, release, failed)
        reason = os.read(failed, 16)  # its end comes with execve(2): the pipe is closed by it
        _tell(report, f"failed {int(reason)}" if reason else f"pid {job}")
        if not reason:
            _watch(job, report)
            os.read(release, 1)
        status = 0
    finally:
        os._exit(status)


def _become_the_job(
    slave: int, argv: Sequence[bytes], environ: Mapping[bytes, bytes], streams: Mapping[int, int], failing: int
) -> NoReturn:
    try:
        _group(os.getpid(), slave)
        for changed in _CHANGED:
            signal.signal(changed, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for number, descriptor in streams.items():
            os.dup2(descriptor, number)
        os.execvpe(argv[0], list(argv), dict(environ))  # noqa: S606 (no shell is the point)
    except OSError as error:
        os.write(failing, str(error.errno).encode())
    finally:
        os._exit(127)


def _group(job: int, slave: int) -> None:
    """By both, parent and child: whoever comes first (as in the GNU C library's manual, Launching Jobs)."""
    with contextlib.suppress(OSError):
        os.setpgid(job, job)
    with contextlib.suppress(OSError):
        os.tcsetpgrp(slave, job)


def _hang_up(job: int) -> None:
    """The other end of the terminal is gone: to the job that is what it is on any terminal."""
    with contextlib.suppress(OSError):
        os.killpg(job, signal.SIGHUP)
        os.killpg(job, signal.SIGCONT)


def _watch(job: int, report: int) -> None:
    while True:
        found = os.waitid(os.P_PID, job, os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOWAIT)
        assert found is not None
        if found.si_code == os.CLD_EXITED:
            _tell(report, f"exit {found.si_status}")
            return
        if found.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            _tell(report, f"signal {found.si_status}")
            return
        os.waitid(os.P_PID, job, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)  # that news is taken
        _tell(report, "continued" if found.si_code == os.CLD_CONTINUED else f"stopped {found.si_status}")


def _tell(report: int, line: str) -> None:
    with contextlib.suppress(OSError):  # the stub is gone: the hang-up ends the job, not this
        os.write(report, line.encode("ascii") + b"\n")


_FIRST_OTHER = 3


def _close_all_but(*kept: int) -> None:
    """What the stub has open is not held open here: neither its terminal nor the ends of others' pipes.

    The slave stays open: a job that lets go of its terminal has not ended, nor is that terminal at its end.
    """
    empty = os.open(os.devnull, os.O_RDWR)
    for number in range(_FIRST_OTHER):
        os.dup2(empty, number)
    last = _FIRST_OTHER - 1
    for descriptor in sorted(kept):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX"))
