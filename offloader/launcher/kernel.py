"""Calls to the kernel that Python does not offer: prctl(2), and pidfd_send_signal(2) with a value."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

__all__ = ["become_subreaper", "die_with_parent", "no_new_privileges", "queue_signal"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SYS_PIDFD_SEND_SIGNAL = 424  # on every architecture that Linux has had since 5.1
_SI_QUEUE = -1
_SIGINFO_BYTES = 128


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> None:
    """Orphans of our tree become our children: none of them can get away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """Set-id programs give nothing any more, for this process and all that it starts."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """SIGKILL when the parent dies, or has died already. A change of uid clears it: call this after the last one."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def queue_signal(descriptor: int, number: int, value: int) -> bool:
    """A signal with a value to the process behind a pidfd; False when it is gone. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    # siginfo_t of 64-bit machines: signo, errno, code, padding, pid, uid, value (sigqueue(3), sigaction(2)).
    info = struct.pack("=iii4xiIi", number, 0, _SI_QUEUE, os.getpid(), os.getuid(), value).ljust(_SIGINFO_BYTES, b"\0")
    if libc.syscall(ctypes.c_long(_SYS_PIDFD_SEND_SIGNAL), descriptor, number, info, 0) == 0:
        return True
    error = ctypes.get_errno()
    if error == errno.ESRCH:
        return False
    raise OSError(error, os.strerror(error))
