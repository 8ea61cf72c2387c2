"""Reading one process from a procfs root: facts, environment, descriptors, limits.

None means "cannot be known": the process is gone (for a whole answer) or the kernel denies it (for a field).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from exporter.procfs import keys, locks, maps, net, system
from exporter.procfs import pid as files
from exporter.procfs.read import read_bytes, read_text

T = TypeVar("T")

_FIRST_PROCESS_ENTRY = 256
_INET_TABLES = ("tcp", "tcp6", "udp", "udp6")


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Everything about a process that decides what it is and whether it may move. Sizes in bytes, times in ticks.

    `uid` and `gid` are the effective ones, all four are in `status`. `exe` and `cwd` may hold surrogates
    (os.fsencode gives the bytes back); `exe` ends in " (deleted)" when the file is gone. None: denied.
    """

    pid: int
    ppid: int
    pgid: int
    sid: int
    tty_nr: int
    tpgid: int
    state: str
    start_time: int
    uid: int
    gid: int
    comm: str
    argv: tuple[bytes, ...]
    exe: str | None
    exe_device: int | None
    exe_inode: int | None
    exe_mode: int | None
    cwd: str | None
    kernel_thread: bool
    tracer_pid: int
    cgroups: tuple[files.CgroupMembership, ...]
    cpu_ticks: int
    rss: int
    swap: int
    threads: int
    nice: int
    oom_score_adj: int
    status: files.PidStatus


class Procfs:
    """A procfs mount. Methods return None for processes that are gone; none of them raises for a vanishing one."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self.root = root
        self._prefix = f"{root}/"

    @cached_property
    def ticks_per_second(self) -> int:
        """The unit of CPU and start times (USER_HZ)."""
        return os.sysconf("SC_CLK_TCK")

    @cached_property
    def page_size(self) -> int:
        """Bytes in a page."""
        return os.sysconf("SC_PAGE_SIZE")

    @cached_property
    def boot_id(self) -> str:
        """Names this boot of the kernel; with pid and start time it identifies a process for ever."""
        return read_text(self.root / "sys/kernel/random/boot_id").strip()

    @cached_property
    def boot_time(self) -> int:
        """Seconds since the epoch, as the kernel reckoned when asked first."""
        return system.parse_stat(read_text(self.root / "stat")).boot_time

    def pids(self) -> list[int]:
        """Process ids that are visible here (hidepid mounts show only one's own)."""
        with os.scandir(self.root) as entries:
            return [int(entry.name) for entry in entries if entry.name.isdigit()]

    def pids_from(self, first: int) -> list[int]:
        """Process ids from `first` on, a few below it perhaps, and nothing else: as cheap as they are few.

        The position in a listing of /proc is the pid, behind the entries that are none (fs/proc/base.c, TGID_OFFSET).
        Raises OSError.
        """
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.lseek(descriptor, _FIRST_PROCESS_ENTRY + first, os.SEEK_SET)
            return [int(name) for name in os.listdir(descriptor) if name.isdigit()]  # noqa: PTH208 -- pathlib knows no position
        finally:
            os.close(descriptor)

    def stat(self, number: int) -> files.PidStat | None:
        """/proc/PID/stat, readable for everybody."""
        return self._parsed(number, "stat", files.parse_pid_stat)

    def living_thread(self, number: int) -> tuple[str, files.PidStat] | None:
        """A thread that outlived the first one of its process: its folder below the root, and its stat.

        The first thread's own files show no memory then (kernel: fs/proc/task_mmu.c, the mm went with its exit).
        """
        try:
            threads = [name for name in os.listdir(f"{self._prefix}{number}/task") if name != str(number)]  # noqa: PTH208
        except OSError:
            return None
        for thread in threads:
            folder = f"{number}/task/{thread}"
            stat = self._parsed(folder, "stat", files.parse_pid_stat)
            if stat is not None and stat.state not in files.DEAD_STATES:
                return folder, stat
        return None

    def statm(self, number: int | str) -> files.PidStatm | None:
        """/proc/PID/statm, readable for everybody; or of a thread, `PID/task/TID`."""
        return self._parsed(number, "statm", files.parse_pid_statm)

    def status(self, number: int | str) -> files.PidStatus | None:
        """/proc/PID/status, readable for everybody; or of a thread, `PID/task/TID`."""
        return self._parsed(number, "status", files.parse_pid_status)

    def io(self, number: int) -> files.PidIo | None:
        """/proc/PID/io; None also where it is denied (other users' processes)."""
        return self._parsed(number, "io", files.parse_pid_io)

    def argv(self, number: int) -> tuple[bytes, ...] | None:
        """/proc/PID/cmdline, which the process may have rewritten."""
        return self._parsed(number, "cmdline", files.parse_cmdline)

    def cgroups(self, number: int) -> tuple[files.CgroupMembership, ...] | None:
        """/proc/PID/cgroup, one entry per hierarchy."""
        return self._parsed(number, "cgroup", files.parse_cgroup)

    def limits(self, number: int) -> dict[str, files.Limit] | None:
        """/proc/PID/limits by the kernel's names in lower case."""
        return self._parsed(number, "limits", files.parse_limits)

    def environ_bytes(self, number: int) -> bytes | None:
        """The environment as it stands in memory; a process that sets its title may have overwritten it."""
        return self._parsed(number, "environ", bytes)

    def environ(self, number: int) -> dict[bytes, bytes] | None:
        """The environment the process was started with. May hold secrets: never log or keep it."""
        return self._parsed(number, "environ", files.parse_environ)

    def fds(self, number: int) -> dict[int, str] | None:
        """Open descriptors → link targets: `/path`, `pipe:[inode]`, `socket:[inode]`, `anon_inode:[…]`."""
        try:
            with os.scandir(f"{self._prefix}{number}/fd") as entries:
                names = [entry.name for entry in entries]
        except OSError:
            return None
        links = ((int(name), self._link(number, f"fd/{name}")) for name in names)
        return {descriptor: target for descriptor, target in links if target is not None}

    def fdinfo(self, number: int, descriptor: int) -> files.FdInfo | None:
        """Offset and open flags of one descriptor."""
        return self._parsed(number, f"fdinfo/{descriptor}", files.parse_fdinfo)

    def locks(self, number: int, descriptor: int) -> frozenset[str]:
        """The kinds of lock that one open file carries; none also where it cannot be read."""
        return self._parsed(number, f"fdinfo/{descriptor}", locks.parse_held) or frozenset()

    def waiting_for_locks(self) -> frozenset[tuple[int, int]]:
        """(pid, inode) of everybody who waits for a file lock."""
        try:
            return locks.parse_waiting(read_bytes(self.root / "locks"))
        except FileNotFoundError:  # a kernel without file locking, or a fixture
            return frozenset()

    def keys(self) -> tuple[keys.Key, ...]:
        """The kernel's keys that the reader may see: of another user's as a rule none, not even for root."""
        try:
            return keys.parse_keys(read_bytes(self.root / "keys"))
        except (FileNotFoundError, PermissionError):  # a kernel without keys
            return ()

    def shared_mappings(self, number: int) -> frozenset[maps.SharedMapping] | None:
        """What it maps together with others, or could."""
        return self._parsed(number, "maps", maps.parse_shared)

    def file_status(self, number: int, name: str, *, follow: bool = True) -> os.stat_result | None:
        """stat(2) of what a link such as `exe`, `fd/3`, `ns/net` leads to, or of the link itself."""
        try:
            return os.stat(f"{self._prefix}{number}/{name}", follow_symlinks=follow)  # noqa: PTH116 -- pipe:[1] is no path
        except OSError:
            return None

    def inet_sockets(
        self, number: int | None = None, tables: tuple[str, ...] = _INET_TABLES
    ) -> tuple[net.InetSocket, ...]:
        """TCP and UDP sockets of a process's network namespace (without a pid: of the reader's own)."""
        base = self.root / (str(number) if number is not None else "self") / "net"
        sockets: list[net.InetSocket] = []
        for table in tables:
            try:
                sockets.extend(net.parse_inet(read_text(base / table)))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # no IPv6 in this kernel, or the process is gone
        return tuple(sockets)

    def facts(self, number: int) -> ProcessFacts | None:
        """All facts of one process, of one and the same process: its start time is checked again at the end."""
        stat, status = self.stat(number), self.status(number)
        argv, cgroups = self.argv(number), self.cgroups(number)
        if stat is None or status is None:
            return None
        exe = self._link(number, "exe")
        found = self.file_status(number, "exe")
        cwd = self._link(number, "cwd")
        oom_score_adj = self._parsed(number, "oom_score_adj", files.parse_oom_score_adj)
        again = self.stat(number)
        if again is None or again.start_time != stat.start_time:
            return None
        return ProcessFacts(
            pid=stat.pid,
            ppid=stat.ppid,
            pgid=stat.pgid,
            sid=stat.sid,
            tty_nr=stat.tty_nr,
            tpgid=stat.tpgid,
            state=stat.state,
            start_time=stat.start_time,
            uid=status.uids[1],
            gid=status.gids[1],
            comm=stat.comm,
            argv=argv or (),
            exe=exe,
            exe_device=found.st_dev if found else None,
            exe_inode=found.st_ino if found else None,
            exe_mode=found.st_mode if found else None,
            cwd=cwd,
            kernel_thread=stat.kernel_thread,
            tracer_pid=status.tracer_pid,
            cgroups=cgroups or (),
            cpu_ticks=stat.ticks,
            rss=stat.rss * self.page_size,
            swap=status.swap,
            threads=stat.threads,
            nice=stat.nice,
            oom_score_adj=oom_score_adj or 0,
            status=status,
        )

    def _parsed(self, number: int | str, name: str, parse: Callable[[bytes], T]) -> T | None:
        try:
            raw = read_bytes(f"{self._prefix}{number}/{name}")
        except OSError:  # ENOENT, ESRCH: gone; EACCES, EPERM: denied; EIO: the kernel cannot tell
            return None
        return parse(raw)

    def _link(self, number: int, name: str) -> str | None:
        try:
            return os.readlink(f"{self._prefix}{number}/{name}")  # noqa: PTH115 -- pipe:[1] is no path
        except OSError:
            return None
