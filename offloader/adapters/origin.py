"""Where a job came from: its terminal, and the file that its output goes to."""

from __future__ import annotations

from exporter.procfs.process import Procfs
from exporter.roots import Roots
from offloader.model import Candidate
from offloader.notify.message import Origin

__all__ = ["origin_of"]

_STDOUT, _STDERR = 1, 2


def origin_of(candidate: Candidate, roots: Roots | None = None) -> Origin:
    """Never raises: of a process that is gone, or may not be looked at, nothing is known.

    The file is not looked at here: it may lie on a file system that does not answer.
    """
    tty = next((member.tty_nr for member in candidate.members if member.tty_nr), 0)
    procfs, leader = Procfs((roots or Roots()).proc), candidate.leader.identity
    log = next((path for number in (_STDOUT, _STDERR) if (path := _file(procfs, leader.pid, number))), None)
    again = procfs.stat(leader.pid)  # after the links: the pid may have been used again
    same = again is not None and again.start_time == leader.start_ticks
    return Origin(tty, log if same else None)


def _file(procfs: Procfs, pid: int, number: int) -> str | None:
    """The path of an open file; None for terminals, pipes, sockets, devices and deleted files."""
    try:
        path = str((procfs.root / str(pid) / "fd" / str(number)).readlink())
    except OSError:
        return None
    usual = (
        path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/sys/")) and not path.endswith(" (deleted)")
    )
    return path if usual else None
