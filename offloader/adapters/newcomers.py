"""Processes that were started a short while ago: what a respawn watch looks through.

Reads one small file per process of the machine, and the rest only of young ones of the user in question: measured
with 400 processes, some 8 ms.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from exporter.procfs.process import Procfs
from exporter.roots import Roots
from offloader.moves.respawn import Newcomer

__all__ = ["NewcomerSource"]

_MARK = b"OFFLOADING_TASK_ID="
_GENERATIONS = 64


class NewcomerSource:
    """Implements moves.respawn.Newcomers over /proc."""

    def __init__(self, roots: Roots | None = None, boottime: Callable[[], float] | None = None) -> None:
        self._procfs = Procfs((roots or Roots()).proc)
        self._boottime = boottime or _boottime

    async def __call__(self, uid: int, within_s: float) -> tuple[Newcomer, ...]:
        """Those of that user, started within the last so many seconds. What cannot be read is left out."""
        return await asyncio.to_thread(self._look, uid, within_s)

    def _look(self, uid: int, within_s: float) -> tuple[Newcomer, ...]:
        now = self._boottime()
        found = (self._newcomer(pid, uid, within_s, now) for pid in self._procfs.pids())
        return tuple(one for one in found if one is not None)

    def _newcomer(self, pid: int, uid: int, within_s: float, now: float) -> Newcomer | None:
        stat = self._procfs.stat(pid)
        if stat is None or stat.kernel_thread:
            return None
        age_s = now - stat.start_time / self._procfs.ticks_per_second
        if age_s > within_s:
            return None
        facts = self._procfs.facts(pid)
        if facts is None or facts.uid != uid or facts.start_time != stat.start_time or facts.cwd is None:
            return None
        return Newcomer(pid, age_s, facts.argv, os.fsencode(facts.cwd), self._ours(pid, facts.ppid))

    def _ours(self, pid: int, parent: int) -> bool:
        """It, or what it lives below, bears our mark. What was restored has the environment that it always had."""
        for _ in range(_GENERATIONS):
            environ = self._procfs.environ_bytes(pid) or b""
            if any(entry.startswith(_MARK) for entry in environ.split(b"\0")):
                return True
            above = self._procfs.stat(parent) if parent > 1 else None
            if above is None:
                return False
            pid, parent = parent, above.ppid
        return False


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
