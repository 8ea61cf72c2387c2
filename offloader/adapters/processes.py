"""The head's processes as decisions need them, read from /proc.

Works as an ordinary user too, with what the kernel lets it see: what cannot be read is marked, never guessed.
Environments are looked at for one variable and dropped at once: they hold secrets.
"""

from __future__ import annotations

import os
import pwd
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from exporter.classify import classify
from exporter.movability import has_set_id, path_of
from exporter.procfs.clock import gate_for
from exporter.procfs.process import ProcessFacts, Procfs
from exporter.roots import Roots
from offloader.adapters.credentials import credentials_of, key_rings
from offloader.adapters.edges import Links
from offloader.adapters.environment import Environment, look
from offloader.adapters.holdings import read_links
from offloader.adapters.original_argv import rewritten
from offloader.model import Identity, Process

__all__ = ["ProcessSource"]

_SHORTEST_WINDOW_S = 1.0
"""CPU times tick in hundredths of a second: a rate over less than this is mostly rounding."""

_REFRESH_EVERY = 12
"""Readings without detail after which sleepers are read again: memory and state change without CPU use."""


@dataclass(frozen=True, slots=True)
class _Usage:
    """CPU time at the beginning of a process's present window, and its rate over the one before."""

    start_ticks: int
    cpu_ticks: int
    t: float
    cores: float


class ProcessSource:
    """Reads all processes; one instance lives as long as the controller, because CPU rates need two readings.

    Blocks: measured with 420 processes, 160 ms of CPU with `detail` and 5 ms without. Call it in a thread.
    """

    def __init__(
        self, roots: Roots | None = None, boottime: Callable[[], float] | None = None, *, acts: bool = True
    ) -> None:
        """`acts`: whether anybody acts on what is read; else what cannot be compared speaks against no process.

        Whoever only looks may do so from a container, where no path leads to what it does for the processes outside.
        """
        self._acts = acts
        self._procfs = Procfs((roots or Roots()).proc)
        self._boottime = boottime or _boottime
        self._gate = gate_for(self._procfs.root)
        self._reads = 0
        self._sleepers: dict[int, Process] = {}
        self._usages: dict[int, _Usage] = {}
        self._lock = threading.Lock()

    def read(self, *, detail: bool) -> Mapping[int, Process]:
        """All processes by pid.

        Without `detail`: names, relations, CPU and memory, which keeps the CPU rates going while nothing is wrong;
        its identities lack the executable, so nothing may be acted upon. With `detail`: everything in model.Process.
        A process seen for the first time is given its average since it started, for want of a second reading.
        """
        with self._lock:
            now = self._boottime()
            read = self._detailed if detail else self._plain
            found = read(now)
            self._usages = {pid: usage for pid, usage in self._usages.items() if pid in found}
            return found

    def _plain(self, now: float) -> dict[int, Process]:
        """Processes that used no CPU since the last time are not read again, but for now and then."""
        pids = self._procfs.pids()
        moved = set(self._gate.moved(pids) if self._gate and self._reads % _REFRESH_EVERY else pids)
        self._reads += 1
        before, self._sleepers = self._sleepers, {}
        for pid in pids:
            known = before.get(pid) if pid not in moved else None
            found = (self._slept(known, now) if known else None) or self._light(pid, now)
            if found is not None:
                self._sleepers[pid] = found
        return dict(self._sleepers)

    def _slept(self, known: Process, now: float) -> Process | None:
        """The process as last read, a little older; None when a reading with detail saw it gone meanwhile."""
        start, usage = known.identity.start_ticks, self._usages.get(known.pid)
        if usage is None or usage.start_ticks != start:
            return None
        cores = self._cores(known.pid, start, usage.cpu_ticks, now)
        return replace(known, age_s=self._age(start, now), cpu_cores=cores)

    def _detailed(self, now: float) -> dict[int, Process]:
        pids = self._procfs.pids()
        facts = {pid: known for pid in pids if (known := self._procfs.facts(pid)) is not None}
        links = read_links(self._procfs, [pid for pid, known in facts.items() if not known.kernel_thread])
        looks = {pid: look(self._procfs.environ_bytes(pid)) for pid in facts}
        rings = key_rings(self._procfs.keys())
        carried = {pid: credentials_of(known, looks[pid], rings) for pid, known in facts.items()}
        return {
            pid: self._full(known, links.get(pid, Links()), looks[pid], carried[pid], now)
            for pid, known in facts.items()
            if self._still(known)
        }

    def _still(self, known: ProcessFacts) -> bool:
        """Whether what was read after the facts belongs to the same process: a pid may have been used again."""
        again = self._procfs.stat(known.pid)
        return again is not None and again.start_time == known.start_time

    def _light(self, pid: int, now: float) -> Process | None:
        stat_, status = self._procfs.stat(pid), self._procfs.status(pid)
        if stat_ is None or status is None:
            return None
        uid, start = status.uids[1], stat_.start_time
        return Process(
            identity=Identity(self._procfs.boot_id, stat_.pid, start, uid, 0, 0),
            ppid=stat_.ppid,
            pgid=stat_.pgid,
            sid=stat_.sid,
            tty_nr=stat_.tty_nr,
            state=stat_.state,
            comm=stat_.comm,
            user=_user(uid),
            kernel=stat_.kernel_thread,
            tracer_pid=status.tracer_pid,
            age_s=self._age(start, now),
            cpu_cores=self._cores(stat_.pid, start, stat_.ticks, now),
            rss_bytes=stat_.rss * self._procfs.page_size,
            swap_bytes=status.swap,
            environ_readable=False,
            session_terminal_pgid=stat_.tpgid,
        )

    def _full(
        self, known: ProcessFacts, links: Links, environment: Environment, credentials: tuple[str, ...], now: float
    ) -> Process:
        identity = Identity(
            self._procfs.boot_id, known.pid, known.start_time, known.uid, known.exe_device or 0, known.exe_inode or 0
        )
        return Process(
            identity=identity,
            ppid=known.ppid,
            pgid=known.pgid,
            sid=known.sid,
            tty_nr=known.tty_nr,
            state=known.state,
            comm=known.comm,
            user=_user(known.uid),
            argv=known.argv,
            exe=known.exe,
            cwd=known.cwd,
            cgroup=path_of(known.cgroups),
            process_class=classify(known.argv, comm=known.comm),
            kernel=known.kernel_thread,
            tracer_pid=known.tracer_pid,
            set_id=has_set_id(known.status, known.exe_mode),
            listening=links.listening,
            remote_tcp=links.remote_tcp,
            age_s=self._age(known.start_time, now),
            cpu_cores=self._cores(known.pid, known.start_time, known.cpu_ticks, now),
            rss_bytes=known.rss,
            swap_bytes=known.swap,
            wish=environment.wish,
            environ_readable=environment.readable,
            argv_rewritten=not known.kernel_thread
            and rewritten(known, environment, lambda: self._acts or self._same_root(known.pid)),
            edges=links.edges,
            locked=links.locked,
            credentials=credentials,
            licence_variables=environment.licence_variables,
            checkpoint_signal=environment.checkpoint_signal,
            checkpoint_file=_absolute(environment.checkpoint_file, known.cwd),
            handled_signals=known.status.handled_signals,
            session_terminal_pgid=known.tpgid,
        )

    def _same_root(self, pid: int) -> bool:
        theirs, ours = (self._procfs.file_status(one, "root") for one in (pid, os.getpid()))
        return theirs is None or ours is None or os.path.samestat(theirs, ours)

    def _age(self, start_ticks: int, now: float) -> float:
        return max(0.0, now - start_ticks / self._procfs.ticks_per_second)

    def _cores(self, pid: int, start_ticks: int, cpu_ticks: int, now: float) -> float:
        before = self._usages.get(pid)
        per_second = self._procfs.ticks_per_second
        if before is None or before.start_ticks != start_ticks:
            age = max(self._age(start_ticks, now), 1 / per_second)
            cores = cpu_ticks / per_second / age
        elif now - before.t < _SHORTEST_WINDOW_S:
            return before.cores
        else:
            cores = (cpu_ticks - before.cpu_ticks) / per_second / (now - before.t)
        self._usages[pid] = _Usage(start_ticks, cpu_ticks, now, max(0.0, cores))
        return max(0.0, cores)


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _absolute(file: bytes | None, cwd: str | None) -> bytes | None:
    """As the process itself would find it; None where its directory cannot be read."""
    if file is None or (cwd is None and not file.startswith(b"/")):
        return None
    return os.path.join(os.fsencode(cwd or "/"), file)  # noqa: PTH118 -- bytes that are no UTF-8 stay as they are


@lru_cache(maxsize=4096)
def _user(uid: int) -> str:
    """The user's name; its number where it has none. Kept, because a directory service may take its time."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
