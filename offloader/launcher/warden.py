"""Watches over the launcher itself: when it dies, by whatever hand, nothing of its attempt survives it.

PR_SET_PDEATHSIG ends only the direct child; its descendants would run on unseen while the original thaws. The warden
lives in a session of its own, outside the backend's process tree.
"""

from __future__ import annotations

import os
import select
import signal

from .fence import kill_marked

__all__ = ["start"]

_LIMIT_S = 60.0


def start(task: str) -> None:
    """Fork the warden. Call it before becoming a subreaper: it must not be a child of the launcher."""
    launcher = os.pidfd_open(os.getpid())
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _watch(launcher, task)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(launcher)


def _watch(launcher: int, task: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    nowhere = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.closerange(3, launcher)
    os.closerange(launcher + 1, os.sysconf("SC_OPEN_MAX"))
    poll = select.poll()
    poll.register(launcher, select.POLLIN)
    poll.poll()
    kill_marked(task, limit_s=_LIMIT_S)
