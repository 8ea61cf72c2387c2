"""`run --local` and `attach` of what it started: which of the parts there is need of, put together."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .attached import Attached, NobodyThere, left_behind
from .direct import run_direct
from .endpoint import Ended, Endpoint
from .local_pty import LocalPty
from .raw import UserTerminal
from .relay import Relay
from .roaming import Roaming
from .unwatched import EXIT, OUTPUT, Unwatched, keep_no_terminal

__all__ = ["attach", "left_jobs", "run_local"]


def run_local(argv: Sequence[bytes], environ: Mapping[bytes, bytes], home: Path) -> Ended:
    """Run the command here, on a terminal of its own where our input is one, until it is over.

    Args:
        argv: the command; PATH of `environ` decides which program it is.
        environ: its environment.
        home: below it, jobs that lose their terminal have their directory, by their name.

    Raises:
        NotStarted: its program cannot be executed.
    """
    name = f"local_{int(time.time())}_{os.getpid()}"
    if not os.isatty(0):
        return run_direct(argv, environ, name=name)
    with UserTerminal(0) as terminal:
        passed = {number: number for number in (1, 2) if not os.isatty(number)}
        here = LocalPty(argv, environ, name=name, size=terminal.size, attributes=terminal.attributes, passed=passed)
        job = Roaming(here, name, terminal.size, os.getuid())
        try:
            return Relay(job, terminal, lambda unshown: _unwatched(job, home / name, unshown)).run()
        finally:
            job.close()


def attach(name: str, home: Path) -> Ended | None:
    """Show a job that lost its terminal on this one, until it is over; None: this one was lost, too.

    Raises:
        NobodyThere: there is no such job, or nobody holds it any more.
    """
    directory = home / name
    if (directory / EXIT).exists():
        output, ended = left_behind(directory)
        os.write(1, output)
        _forget(directory)
        return ended
    if not os.isatty(0):
        raise NobodyThere("only a terminal can be attached to it")
    job = Attached(directory)
    with UserTerminal(0) as terminal:
        try:
            ended = Relay(job, terminal, _leave).run()
        except _LostAgain:
            return None
        finally:
            job.close()
    _forget(directory)
    return ended


def left_jobs(home: Path) -> tuple[str, ...]:
    """Names of jobs that lost their terminal, and that nobody has seen the end of."""
    try:
        return tuple(sorted(one.name for one in home.iterdir() if (one / OUTPUT).exists()))
    except FileNotFoundError:
        return ()


def _unwatched(job: Endpoint, directory: Path, unshown: bytes) -> Ended:
    keep_no_terminal()
    try:
        unwatched = Unwatched(job, directory, unshown=unshown)
    except OSError:  # no place to keep its output, nor to come back to; the job itself is more than both
        return _alone(job)
    return unwatched.run()


def _alone(job: Endpoint) -> Ended:
    while True:
        select.select(job.filenos(), (), (), job.patience_s)
        while job.read():
            pass
        state = job.state()
        if isinstance(state, Ended):
            return state


class _LostAgain(Exception):
    """The terminal of whoever watched is gone; the job has somebody who holds it."""


def _leave(_unshown: bytes) -> Ended:
    """It is in what the job's holder keeps."""
    raise _LostAgain


def _forget(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
