"""Handles on processes: a pidfd never means another process, so whoever holds one cannot signal a stranger."""

from __future__ import annotations

import os
import select
import signal

from . import proc
from .kernel import queue_signal
from .wire import Document

__all__ = ["Held", "hold", "matches"]


class Held:
    """One process by pidfd and start time."""

    def __init__(self, pid: int, start_ticks: int, descriptor: int) -> None:
        self.pid = pid
        self.start_ticks = start_ticks
        self.descriptor = descriptor

    @property
    def alive(self) -> bool:
        """Whether it still executes (a pidfd turns readable when the last thread has ended)."""
        return not self.wait(0.0)

    def wait(self, limit_s: float) -> bool:
        """Wait for its end; whether it has come."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(limit_s * 1000))

    def signal(self, number: int) -> bool:
        """Send a signal; False when it is gone. Raises PermissionError."""
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            return False
        return True

    def queue(self, number: int, value: int) -> bool:
        """Send a signal with a number, as sigqueue(3) does; False when it is gone. Raises PermissionError."""
        return queue_signal(self.descriptor, number, value)

    def close(self) -> None:
        """Give the handle back."""
        os.close(self.descriptor)


def hold(pid: int, start_ticks: int) -> Held | None:
    """A handle on exactly this process, or None when it is gone or the pid means another one by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except (ProcessLookupError, ValueError):
        return None
    # Read after opening: if it is the right one now, the descriptor is on the right one.
    if not proc.same(pid, start_ticks):
        os.close(descriptor)
        return None
    return Held(pid, start_ticks, descriptor)


def matches(wanted: Document) -> bool:
    """Whether the process with that pid still is the one described (model.Identity)."""
    return proc.identity(int(wanted["pid"])) == {key: wanted[key] for key in _KEYS}


_KEYS = ("boot_id", "pid", "start_ticks", "uid", "exe_dev", "exe_inode")
