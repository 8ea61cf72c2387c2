"""Dumping a frozen job. criu thaws the cgroup while it holds the tasks by ptrace(2) and freezes it again at its end.

It is told to leave them running, not stopped: the freezer alone holds them, so no parent ever sees a stopped child and
a roll-back is a plain thaw. When criu ends before its time its tasks run on for a moment, until they are frozen again:
harmless, because the image is not complete and nothing can have been restored from it (ADR 18).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import cgroups, proc
from ..errors import LauncherError
from ..lease import boottime
from ..wire import Document
from . import arguments, tasks
from .arguments import DumpRequest, Options, Pages
from .execution import Execution, complaint

__all__ = ["Dump", "Frozen", "options_for"]

_FREEZE_LIMIT_S = 5.0
_END_LIMIT_S = 2.0
_PAUSE_S = 0.001


class Frozen(NamedTuple):
    """The one cgroup in which the whole job is frozen."""

    hierarchy: cgroups.Hierarchy
    directory: Path

    @classmethod
    def of(cls, memory: Document) -> Frozen:
        """From what a freezer remembers (freezer.Freezer.memory).

        Raises:
            LauncherError: FREEZE_FAILED: frozen in a way, or in several cgroups, that criu cannot take a job from.
        """
        directories = memory.get("directories", [])
        if len(directories) != 1:
            where = f"in {len(directories)} cgroups" if directories else "without a cgroup"
            raise LauncherError("FREEZE_FAILED", f"it is frozen {where}; for a live move it has to be in one")
        return cls(cgroups.Hierarchy(memory["how"], memory["mount"], memory["top"]), Path(directories[0]))

    def ensure(self) -> bool:
        """Frozen, whatever happened before; whether it was not. Raises LauncherError (FREEZE_FAILED)."""
        if self.hierarchy.is_frozen(self.directory):
            return False
        deadline = boottime() + _FREEZE_LIMIT_S
        self.hierarchy.switch(self.directory, frozen=True)
        while not self.hierarchy.is_frozen(self.directory):
            if boottime() >= deadline:
                raise LauncherError("FREEZE_FAILED", f"{self.directory} does not freeze again")
            select.select([], [], [], _PAUSE_S)
        return True


def options_for(leader: int, *, tcp_close: bool = False) -> Options:
    """What the job itself demands of both sides. Raises LauncherError (ORIGINAL_GONE)."""
    stat = proc.read_stat(leader)
    if stat is None or stat.dead:
        raise LauncherError("ORIGINAL_GONE", f"process {leader} ended")
    return Options(shell_job=stat.session != stat.pid, tcp_close=tcp_close)


class Dump:
    """One dump under way: wait for `descriptor` (a pidfd) at most until `deadline`, then `finish` or `abort`."""

    def __init__(
        self,
        criu: str,
        leader: int,
        frozen: Frozen,
        images: Path,
        options: Options,
        *,
        limit_s: float,
        pages: Pages | None = None,
    ) -> None:
        """Start it; `images` exists and gets everything but what goes to `pages`. Raises LauncherError, OSError."""
        self._frozen = frozen
        self._images = images
        self._began = boottime()
        self.deadline = self._began + limit_s
        self.tasks = [task.document() for task in _all(frozen, leader)]
        self._beside = None if tasks.shares_namespaces(leader) else leader
        request = DumpRequest(
            leader=tasks.pid_inside(proc.status(leader)),
            freezer=str(frozen.directory),
            images=str(images),
            options=options,
            pages=pages,
        )
        passed = [pages.socket] if pages is not None and pages.socket is not None else []
        self._execution = Execution(
            arguments.dump(criu, request), str(images / "stderr"), passed=passed, beside=self._beside, bound=False
        )
        self._pages = pages

    @property
    def descriptor(self) -> int:
        """Readable once criu has ended."""
        return self._execution.descriptor

    def finish(self) -> Document:
        """What was dumped, with the job frozen as before.

        Raises:
            LauncherError: DUMP_FAILED with criu's own words; TIMEOUT: it had not ended, and was killed.
        """
        status = self._execution.poll()
        if status is None:
            self.abort()
            raise LauncherError("TIMEOUT", "criu was killed: it did not end in time")
        self._execution.close()
        loose = self._frozen.ensure()
        if status != 0:
            raise LauncherError("DUMP_FAILED", complaint(str(self._images / "dump.log")))
        if loose:
            raise LauncherError("DUMP_FAILED", "criu left the job running")
        return {"tasks": self.tasks, "took_s": round(boottime() - self._began, 6)}

    def wait(self) -> Document:
        """Wait for the end, at most until the deadline; then as `finish`."""
        self._execution.wait(self.deadline - boottime())
        return self.finish()

    def abort(self) -> None:
        """Give up. The job is frozen afterwards, but may have run on for a moment: what it wrote is its own.

        Raises LauncherError (FREEZE_FAILED): criu is gone and the job runs.
        """
        if self._pages is not None and self._pages.socket is not None:
            _shut(self._pages.socket)  # criu then ends by itself, the cleanest way there is
            self._execution.wait(_END_LIMIT_S)
        self._execution.kill_between(_END_LIMIT_S)
        self._execution.close()
        self._frozen.ensure()


def _shut(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def _all(frozen: Frozen, leader: int) -> Iterable[tasks.Task]:
    """Everybody in the cgroup. Raises LauncherError: somebody there does not descend from the leader."""
    pids = frozen.hierarchy.pids(frozen.directory)
    found = tasks.look_all(pids)
    if leader not in pids:
        raise LauncherError("ORIGINAL_GONE", f"process {leader} is not frozen there")
    first = tasks.pid_inside(proc.status(leader))
    outside = [task.pid for task in found if task.parent == 0 and task.pid != first]
    if outside:
        raise LauncherError("NOT_ONE_TREE", f"not below process {first}: {', '.join(map(str, outside))}")
    return found
