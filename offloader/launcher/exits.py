"""How a process ended that is not our child: its exit code, where the kernel tells it to anybody but its parent.

Since Linux 6.15 a pidfd tells it once the process has been reaped (PIDFD_GET_INFO, include/uapi/linux/pidfd.h); before
that, /proc/PID/stat does while it waits for its parent (proc_pid_stat(5), `exit_code`), to root and to its own user.
"""

from __future__ import annotations

import fcntl
import struct

from . import proc
from .pidfds import Held

__all__ = ["wait_status"]

_INFO_SIZE = 64  # struct pidfd_info as of its first version: mask, cgroupid, eleven ids, exit_code
_EXIT_CODE_AT = 60
_PIDFD_GET_INFO = (3 << 30) | (_INFO_SIZE << 16) | (0xFF << 8) | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)
_PIDFD_INFO_EXIT = 1 << 3
_EXIT_CODE_FIELD = 49  # of the fields after comm


def wait_status(held: Held) -> int | None:
    """As wait(2) would have given it (os.waitstatus_to_exitcode reads it); None: it runs, or nobody tells us."""
    status = _of_reaped(held.descriptor)
    return status if status is not None else _of_zombie(held)


def _of_reaped(descriptor: int) -> int | None:
    info = bytearray(_INFO_SIZE)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(descriptor, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", info, 0)
    return int(struct.unpack_from("=i", info, _EXIT_CODE_AT)[0]) if mask & _PIDFD_INFO_EXIT else None


def _of_zombie(held: Held) -> int | None:
    try:
        text = proc.read_bytes(f"/proc/{held.pid}/stat")
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    if int(fields[19]) != held.start_ticks or fields[0] != b"Z":
        return None
    return int(fields[_EXIT_CODE_FIELD])
