"""`capture PID`: everything about a running process that is needed to start it again elsewhere, as one document.

Nothing is changed and nothing is interpreted here; what may travel is decided on the target (environment.py,
stdio.py, check.py). Byte strings are base64.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import resource
import select
import shutil
import stat
import struct
import termios
from pathlib import Path

from . import proc
from .errors import LauncherError
from .fileprint import digest
from .wire import Document, pack_bytes

__all__ = ["LIMITS", "argument_files", "capture"]

LIMITS = {
    "Max cpu time": "CPU",
    "Max file size": "FSIZE",
    "Max data size": "DATA",
    "Max stack size": "STACK",
    "Max core file size": "CORE",
    "Max resident set": "RSS",
    "Max processes": "NPROC",
    "Max open files": "NOFILE",
    "Max locked memory": "MEMLOCK",
    "Max address space": "AS",
    "Max pending signals": "SIGPENDING",
    "Max msgqueue size": "MSGQUEUE",
    "Max nice priority": "NICE",
    "Max realtime priority": "RTPRIO",
}
_SIGHUP_BIT = 1
_ARGUMENT_FILES = 64
_SCRIPTS = (b".py", b".sh", b".pl", b".rb", b".r", b".R", b".jl", b".js", b".lua", b".m", b".tcl", b".jar")


def capture(pid: int) -> Document:
    """The process part of a capsule.

    Raises:
        LauncherError: NO_SUCH_PROCESS, KERNEL_THREAD, UNREADABLE (not ours and we are not root), SET_ID,
            ARGV_REWRITTEN (its memory no longer holds what it was started with).
    """
    stat_before = proc.read_stat(pid)
    if stat_before is None or stat_before.dead:
        raise LauncherError("NO_SUCH_PROCESS", f"no process {pid} runs")
    try:
        document = _read(pid)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise LauncherError(*_gone(pid)) from error
    except PermissionError as error:
        raise LauncherError("UNREADABLE", f"process {pid} may not be read: {error.strerror}") from error
    if not proc.same(pid, stat_before.start_ticks):
        raise LauncherError("NO_SUCH_PROCESS", f"process {pid} ended meanwhile")
    return document


def _gone(pid: int) -> tuple[str, str]:
    """Files of /proc/PID are missing: either the process, or (kernel threads) the executable."""
    if proc.read_stat(pid) is None:
        return "NO_SUCH_PROCESS", f"no process {pid} runs"
    return "KERNEL_THREAD", f"process {pid} has no executable"


def _read(pid: int) -> Document:
    identity = proc.identity(pid)
    if identity is None:
        raise LauncherError(*_gone(pid))
    status = proc.status(pid)
    argv = proc.read_bytes(f"/proc/{pid}/cmdline").split(b"\0")[:-1]
    environ = proc.environ(pid)
    cwd = os.readlink(f"/proc/{pid}/cwd".encode())
    exe = os.readlink(f"/proc/{pid}/exe".encode())
    uids, gids = status["Uid"].split(), status["Gid"].split()
    if len(set(uids[:3])) > 1 or len(set(gids[:3])) > 1:
        raise LauncherError("SET_ID", f"process {pid} runs with changed privileges")
    if not _argv_genuine(pid, argv, environ, cwd, exe):
        raise LauncherError("ARGV_REWRITTEN", f"process {pid} overwrote its arguments or environment")
    return {
        "identity": identity,
        "argv": [pack_bytes(argument) for argument in argv],
        "environ": [pack_bytes(entry) for entry in environ],
        "cwd": pack_bytes(cwd),
        "exe": {
            "path": pack_bytes(exe),
            "digest": digest(f"/proc/{pid}/exe"),
            "size": os.stat(f"/proc/{pid}/exe").st_size,
        },
        "files": argument_files(argv, cwd, exe),
        "umask": int(status["Umask"], 8),
        "nice": os.getpriority(os.PRIO_PROCESS, pid),
        "affinity": _affinity(pid),
        "oom_score_adj": int(proc.read_bytes(f"/proc/{pid}/oom_score_adj")),
        "rlimits": _limits(pid),
        "hup_ignored": bool(int(status["SigIgn"], 16) & _SIGHUP_BIT),
        "user": _user(identity["uid"]),
        "uid": identity["uid"],
        "gid": int(gids[0]),
        "groups": [int(group) for group in status["Groups"].split()],
        "group_names": _group_names([gids[0], *status["Groups"].split()]),
        "stdio": {str(number): _stream(pid, number) for number in (0, 1, 2)},
    }


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise LauncherError("IDENTITY_MISMATCH", f"uid {uid} has no name on this node") from None


def _group_names(gids: list[str]) -> dict[str, str]:
    names = {}
    for gid in gids:
        with contextlib.suppress(KeyError):  # a group without a name is known by its number alone
            names[gid] = grp.getgrgid(int(gid)).gr_name
    return names


def _argv_genuine(pid: int, argv: list[bytes], environ: list[bytes], cwd: bytes, exe: bytes) -> bool:
    """Whether argv and environment are what the program was started with (setproctitle writes over both)."""
    if not argv or not argv[0]:
        return False
    if environ and not any(b"=" in entry for entry in environ):
        return False
    if not environ and proc.read_bytes(f"/proc/{pid}/environ"):
        return False
    name = argv[0].removeprefix(b"-")  # login shells
    if os.path.basename(name) == os.path.basename(exe):
        return True
    path = next((entry[5:] for entry in environ if entry.startswith(b"PATH=")), os.defpath.encode())
    found = os.path.join(cwd, name) if b"/" in name else shutil.which(name, path=os.fsdecode(path))
    try:
        return found is not None and os.path.samefile(found, f"/proc/{pid}/exe".encode())
    except OSError:
        return False


def argument_files(argv: list[bytes], cwd: bytes, exe: bytes) -> list[Document]:
    """Arguments that name files; the first regular one after the program may be the script: its content is noted."""
    found: list[Document] = []
    program = os.path.join(cwd, argv[0])
    if b"/" in argv[0] and program != exe and os.path.exists(program):
        found.append({"path": pack_bytes(program), "digest": None})  # a virtual environment's: Python asks where it is
    digested = False
    for argument in argv[1:]:
        path = os.path.join(cwd, argument)
        try:
            mode = os.stat(path).st_mode if argument else 0
        except (OSError, ValueError):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            continue
        entry: Document = {"path": pack_bytes(path), "digest": None}
        if stat.S_ISREG(mode) and not digested:
            digested = True
            try:
                entry["digest"] = digest(path) if os.access(path, os.X_OK) or _is_text(path) else None
            except OSError:
                continue
        found.append(entry)
        if len(found) == _ARGUMENT_FILES:
            break
    return found


def _is_text(path: bytes) -> bool:
    """Scripts are text; a data file or an output that is growing must not be compared by content."""
    return path.endswith(_SCRIPTS)


def _affinity(pid: int) -> list[int] | None:
    """The processors it was pinned to; None when it was not pinned at all (then it is not pinned there either)."""
    allowed = os.sched_getaffinity(pid)
    return None if len(allowed) >= (os.cpu_count() or 1) else sorted(allowed)


def _limits(pid: int) -> dict[str, list[int]]:
    """Soft and hard limits by name; -1 is infinity."""
    found: dict[str, list[int]] = {}
    for line in proc.read_bytes(f"/proc/{pid}/limits").decode("ascii").splitlines()[1:]:
        name = LIMITS.get(line[:26].strip())
        if name is not None:
            values = line[26:].split()[:2]
            found[name] = [resource.RLIM_INFINITY if value == "unlimited" else int(value) for value in values]
    return found


def _stream(pid: int, number: int) -> Document:
    """What one of the three standard streams is. Kinds: file, null, tty, pipe, socket, device, other, closed."""
    link = f"/proc/{pid}/fd/{number}"
    try:
        target = os.readlink(link.encode())
        found = os.stat(link)
        info = proc.read_bytes(f"/proc/{pid}/fdinfo/{number}").decode("ascii", "replace")
    except FileNotFoundError:
        return {"kind": "closed"}
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    document: Document = {"kind": _kind(target, found), "flags": int(fields["flags"], 8)}
    if document["kind"] in {"file", "device"}:
        document["path"] = pack_bytes(target)
    if document["kind"] == "file":
        document.update(dev=found.st_dev, inode=found.st_ino, size=found.st_size)
        document["deleted"] = found.st_nlink == 0
    if document["kind"] == "pipe" and number == 0:
        document["exhausted"] = _exhausted(link)
    return document


def _kind(target: bytes, found: os.stat_result) -> str:
    if stat.S_ISREG(found.st_mode):
        return "file"
    if stat.S_ISFIFO(found.st_mode):
        return "pipe"
    if stat.S_ISSOCK(found.st_mode):
        return "socket"
    if stat.S_ISCHR(found.st_mode):
        if target == b"/dev/null":
            return "null"
        return "tty" if target.startswith((b"/dev/pts/", b"/dev/tty", b"/dev/console")) else "device"
    return "other"


def _exhausted(link: str) -> bool:
    """Whether nothing is in the pipe and nobody can write to it any more: the same as /dev/null."""
    try:
        descriptor = os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        waiting: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return waiting == 0 and any(mask & select.POLLHUP for _, mask in poll.poll(0))
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> Document:
    """The verb."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        raise LauncherError("USAGE", "capture PID")
    if not Path("/proc/self/stat").exists():
        raise LauncherError("UNREADABLE", "/proc is not mounted")
    return capture(int(arguments[0]))
