"""Calls to the kernel that Python (3.9) does not offer: prctl, unshare, setns, mount, pidfd_send_signal (man 2)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

__all__ = [
    "MOUNT_NAMESPACE",
    "PID_NAMESPACE",
    "become_subreaper",
    "die_with_parent",
    "enter_namespace",
    "leave_namespace",
    "mount_private_proc",
    "no_new_privileges",
    "queue_signal",
]

MOUNT_NAMESPACE = 0x00020000  # CLONE_NEWNS
PID_NAMESPACE = 0x20000000  # CLONE_NEWPID

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SYS_PIDFD_SEND_SIGNAL = 424  # on every architecture that Linux has had since 5.1
_SI_QUEUE = -1
_SIGINFO_BYTES = 128
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_REC = 1 << 14
_MS_SLAVE = 1 << 19


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _prctl(option: int, value: int) -> None:
    _call("prctl", option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def leave_namespace(kinds: int) -> None:
    """Be in fresh namespaces of these kinds (unshare(2)); of processes only the children will be. Raises OSError."""
    _call("unshare", kinds)


def enter_namespace(descriptor: int, kind: int) -> None:
    """Be in the namespace behind an open /proc/PID/ns/ file (setns(2)); of processes only the children will be."""
    _call("setns", descriptor, kind)


def mount_private_proc() -> None:
    """In a fresh mount namespace: the /proc of this pid namespace, which nobody outside sees.

    What is mounted outside later (an automounter's file systems) still comes in. Raises OSError.
    """
    _call("mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)
    _call("mount", b"proc", b"/proc", b"proc", ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC), None)


def become_subreaper() -> None:
    """Orphans of our tree become our children: none of them can get away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """Set-id programs give nothing any more, for this process and all that it starts."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """SIGKILL when the parent dies, or has died already. A change of uid clears it: call this after the last one.

    A parent outside of one's pid namespace is 0 (pid_namespaces(7)): of that one an earlier death is not seen.
    """
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
