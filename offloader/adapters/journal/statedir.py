"""The state directory: where it may lie, how it is created, and that only one controller uses it.

SQLite's write-ahead log needs shared memory and sound locks between processes of one machine: network file systems give
neither (https://sqlite.org/wal.html, https://sqlite.org/faq.html#q5). Memory and temporary directories forget.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from pathlib import Path

from offloader.errors import JournalError

__all__ = ["StateLock", "check_state_dir", "prepare_state_dir"]

_MOUNTINFO = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "davfs", "9p", "vboxsf"),
        *("lustre", "gpfs", "mmfs", "beegfs", "fhgfs", "ceph", "glusterfs", "ocfs2", "gfs2", "orangefs", "pvfs2"),
        *("panfs", "wekafs"),
    }
)
_FORGETFUL = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - named to be refused


def check_state_dir(path: Path, *, mountinfo: Path = _MOUNTINFO) -> None:
    """Refuse a place that would lose the journal or let two machines write to it. The directory need not exist yet.

    Args:
        path: the state directory.
        mountinfo: as described in proc_pid_mountinfo(5).

    Raises:
        JournalError: what lies there and where to put it instead.
    """
    real = path.resolve()
    advice = "set `state_dir` to a directory on a local disk, for example /var/lib/grid-offloader"
    for temporary in _TEMPORARY:
        if real.is_relative_to(temporary):
            raise JournalError(f"state directory {path}: {temporary} is emptied behind our back; {advice}")
    kind = _file_system(real, mountinfo.read_text("utf-8", "surrogateescape"))
    if kind in _NETWORK or kind.startswith("fuse."):
        raise JournalError(f"state directory {path} is on a network or user-space file system ({kind}); {advice}")
    if kind in _FORGETFUL:
        raise JournalError(f"state directory {path} is in memory ({kind}) and gone after a restart; {advice}")


def prepare_state_dir(path: Path) -> None:
    """Create it if needed, for its owner alone (0700).

    Raises:
        JournalError: it is somebody else's, no directory, or cannot be created.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.geteuid():
            raise JournalError(
                f"state directory {path} belongs to uid {found.st_uid}: give the controller one of its own"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise JournalError(f"state directory {path} cannot be used: {error.strerror}") from error


class StateLock:
    """Held by the one controller that uses a state directory; the kernel gives it back when the process ends."""

    def __init__(self, path: Path) -> None:
        """Take it.

        Raises:
            JournalError: somebody has it; the message names the pid.
        """
        file = path / "lock"
        try:
            self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"{file} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise JournalError(
                f"another controller (pid {holder}) uses {path}: stop it first, or give this one another directory"
            ) from None
        self._tell(f"{os.getpid()}\n".encode())

    def _tell(self, text: bytes) -> None:
        """Write our pid for the other one's message; without room for it the lock is ours all the same."""
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text, 0)
        except OSError:
            return

    def release(self) -> None:
        """Give it back. Once only."""
        os.close(self._fd)


def _file_system(real: Path, mountinfo: str) -> str:
    """The type of the file system that holds this path: that of the longest, and there the last, mount point above."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(_unescaped(fields.split(" ")[4]))
        if real.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
