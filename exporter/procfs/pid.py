"""Files of one process: stat, statm, io, status, cmdline, environ, cgroup, limits, fdinfo (man 5 proc). Pure."""

from dataclasses import dataclass
from typing import NamedTuple

from exporter.procfs.read import ParseError, natural

PF_KTHREAD = 0x00200000
"""The flag of kernel threads in field 9 of stat (include/linux/sched.h)."""

PF_FORKNOEXEC = 0x00000040
"""The flag of processes that were forked and have executed nothing since (include/linux/sched.h)."""

DEAD_STATES = frozenset("ZXx")
"""States in which nothing runs any more (man 5 proc); other threads of the process may."""

_LARGEST = (1 << 64) - 1


class PidStat(NamedTuple):
    """/proc/PID/stat. Times in clock ticks, `start_time` since boot; `rss` in pages; `vsize` in bytes.

    `comm` keeps bytes that are not UTF-8 as surrogates (os.fsencode gives them back).
    """

    pid: int
    comm: str
    state: str
    ppid: int
    pgid: int
    sid: int
    tty_nr: int
    tpgid: int
    flags: int
    utime: int
    stime: int
    nice: int
    threads: int
    start_time: int
    vsize: int
    rss: int

    @property
    def ticks(self) -> int:
        """CPU time of all threads, also of those that ended, without children."""
        return self.utime + self.stime

    @property
    def kernel_thread(self) -> bool:
        """Whether the process lives in the kernel."""
        return bool(self.flags & PF_KTHREAD)


class PidStatm(NamedTuple):
    """/proc/PID/statm, in pages; `shared` counts file-backed and shmem pages."""

    resident: int
    shared: int


class PidIo(NamedTuple):
    """/proc/PID/io: bytes that really went to or came from storage."""

    read_bytes: int
    write_bytes: int


class PidStatus(NamedTuple):
    """/proc/PID/status, as far as used. `uids` and `gids`: real, effective, saved, file system.

    `swap` in bytes (0 for kernel threads); `umask` is None before Linux 4.7; `handled_signals` is a bit mask (signal n
    at bit n - 1) of those that it has a handler for or blocks to wait for them, and does not ignore.
    """

    uids: tuple[int, int, int, int]
    gids: tuple[int, int, int, int]
    groups: tuple[int, ...]
    umask: int | None
    tracer_pid: int
    swap: int
    handled_signals: int
    effective_capabilities: int
    cpus_allowed: str
    namespace_pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CgroupMembership:
    """A line of /proc/PID/cgroup; v2 has hierarchy 0 and no controllers (man 7 cgroups)."""

    hierarchy: int
    controllers: tuple[str, ...]
    path: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A resource limit; None is unlimited. Units as in man 2 getrlimit."""

    soft: int | None
    hard: int | None


@dataclass(frozen=True, slots=True)
class FdInfo:
    """/proc/PID/fdinfo/FD: offset, open(2) flags, mount id."""

    position: int
    flags: int
    mount_id: int | None


def parse_pid_stat(raw: bytes) -> PidStat:
    """The command name stands in parentheses and may itself hold spaces and parentheses: its end is the last one."""
    head, _, tail = raw.rpartition(b")")
    pid, _, comm = head.partition(b" (")
    fields = tail.split()
    try:
        numbers = tuple(map(int, fields[1:22]))
        stat = PidStat(
            pid=natural(pid),
            comm=comm.decode("utf-8", "surrogateescape"),
            state=fields[0].decode("ascii"),
            ppid=numbers[0],
            pgid=numbers[1],
            sid=numbers[2],
            tty_nr=numbers[3],
            tpgid=numbers[4],
            flags=numbers[5],
            utime=numbers[10],
            stime=numbers[11],
            nice=numbers[15],
            threads=numbers[16],
            start_time=numbers[18],
            vsize=numbers[19],
            rss=numbers[20],
        )
    except (ValueError, IndexError) as error:
        raise ParseError(f"/proc/PID/stat: {raw[:80]!r}") from error
    unsigned = stat.utime, stat.stime, stat.threads, stat.start_time, stat.vsize, stat.rss
    if min(unsigned) < 0 or max(numbers) > _LARGEST or min(numbers) < -_LARGEST:
        raise ParseError(f"/proc/PID/stat: out of range: {raw[:80]!r}")
    return stat


def parse_pid_statm(raw: bytes) -> PidStatm:
    """The fields are: size resident shared text lib data dt."""
    try:
        _, resident, shared = raw.split()[:3]
        return PidStatm(natural(resident), natural(shared))
    except ValueError as error:
        raise ParseError(f"/proc/PID/statm: {raw[:80]!r}") from error


def parse_pid_io(raw: bytes) -> PidIo:
    """Storage bytes, not rchar and wchar, which count the page cache and pipes too."""
    try:
        return PidIo(natural(_field(raw, b"read_bytes")), natural(_field(raw, b"write_bytes")))
    except ValueError as error:
        raise ParseError(f"/proc/PID/io: {raw[:80]!r}") from error


def parse_pid_status(raw: bytes) -> PidStatus:
    """Fields that old kernels lack get their neutral value."""
    try:
        umask = _field(raw, b"Umask", b"")
        return PidStatus(
            uids=_four(_field(raw, b"Uid")),
            gids=_four(_field(raw, b"Gid")),
            groups=tuple(map(natural, _field(raw, b"Groups", b"").split())),
            umask=_digits(umask, 8) if umask else None,
            tracer_pid=natural(_field(raw, b"TracerPid", b"0")),
            swap=natural(_field(raw, b"VmSwap", b"0 kB").split()[0]) << 10,
            handled_signals=_handled(raw),
            effective_capabilities=_digits(_field(raw, b"CapEff", b"0"), 16),
            cpus_allowed=_field(raw, b"Cpus_allowed_list", b"").decode("ascii"),
            namespace_pids=tuple(map(natural, _field(raw, b"NSpid", b"").split())),
        )
    except (ValueError, IndexError) as error:
        raise ParseError(f"/proc/PID/status: {error!r}") from error


def _handled(raw: bytes) -> int:
    caught, blocked, ignored = (_digits(_field(raw, name, b"0"), 16) for name in (b"SigCgt", b"SigBlk", b"SigIgn"))
    return (caught | blocked) & ~ignored


def parse_oom_score_adj(raw: bytes) -> int:
    """One number, -1000 to 1000."""
    try:
        return int(raw)
    except ValueError as error:
        raise ParseError(f"/proc/PID/oom_score_adj: {raw[:80]!r}") from error


def parse_cmdline(raw: bytes) -> tuple[bytes, ...]:
    """argv; empty for kernel threads and zombies. A title written over argv may lack the NULs: then one string."""
    if not raw:
        return ()
    return tuple(raw.removesuffix(b"\0").split(b"\0"))


def parse_environ(raw: bytes) -> dict[bytes, bytes]:
    """NAME=value pairs; of duplicates the first counts, as for getenv(3). Entries without `=` are left out."""
    pairs = (entry.split(b"=", 1) for entry in raw.split(b"\0") if b"=" in entry)
    environ: dict[bytes, bytes] = {}
    for name, value in pairs:
        environ.setdefault(name, value)
    return environ


def parse_cgroup(raw: bytes) -> tuple[CgroupMembership, ...]:
    """hierarchy:controllers:path, one line per hierarchy; paths may hold colons, and characters like U+2028."""
    lines = raw.decode("utf-8", "surrogateescape").split("\n")
    try:
        parts = [line.split(":", 2) for line in lines if line]
        return tuple(
            CgroupMembership(natural(number), tuple(names.split(",")) if names else (), path)
            for number, names, path in parts
        )
    except ValueError as error:
        raise ParseError(f"/proc/PID/cgroup: {raw[:80]!r}") from error


def parse_limits(raw: bytes) -> dict[str, Limit]:
    """The kernel's names in lower case, as "max open files"; columns are at least two spaces apart."""
    limits: dict[str, Limit] = {}
    try:
        for line in raw.decode("ascii").splitlines()[1:]:
            name, rest = line[:26].strip().lower(), line[26:].split()
            limits[name] = Limit(_limit(rest[0]), _limit(rest[1]))
    except (ValueError, IndexError) as error:
        raise ParseError(f"/proc/PID/limits: {error!r}") from error
    return limits


def parse_fdinfo(raw: bytes) -> FdInfo:
    """`flags` is octal."""
    try:
        mount, position = _field(raw, b"mnt_id", b""), _field(raw, b"pos")
        offset = natural(position.removeprefix(b"-")) * (-1 if position.startswith(b"-") else 1)
        return FdInfo(offset, _digits(_field(raw, b"flags"), 8), natural(mount) if mount else None)
    except ValueError as error:
        raise ParseError(f"/proc/PID/fdinfo: {raw[:80]!r}") from error


def _field(raw: bytes, name: bytes, missing: bytes | None = None) -> bytes:
    """What follows a name and a colon at the begin of a line. Raises ValueError where that is missing and may not be.

    Only a line feed ends a line: a command name may hold a carriage return.
    """
    _, found, rest = (b"\n" + raw).partition(b"\n%b:" % name)
    if found:
        return rest.partition(b"\n")[0].strip()
    if missing is None:
        raise ValueError(f"no {name.decode()}")
    return missing


def _four(value: bytes) -> tuple[int, int, int, int]:
    real, effective, saved, filesystem = map(natural, value.split())
    return real, effective, saved, filesystem


def _digits(word: bytes, base: int) -> int:
    """A number in octal or hexadecimal digits, of 64 bits at most. Raises ValueError for all else."""
    if not word.isalnum() or not word.isascii() or (value := int(word, base)) > _LARGEST:
        raise ValueError(f"no number: {word[:40]!r}")
    return value


def _limit(word: str) -> int | None:
    return None if word == "unlimited" else natural(word)
