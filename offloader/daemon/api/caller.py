"""Who is at the other end of the socket, as the kernel says it, and what he may see and do."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from dataclasses import dataclass

__all__ = ["Caller", "Permissions", "caller_of", "user_name"]

_SO_PEERGROUPS = 59  # include/uapi/asm-generic/socket.h; the socket module has no name for it
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (man 7 unix)
_GROUPS_BYTES = 1024  # the most that socket.getsockopt gives: 256 groups


@dataclass(frozen=True, slots=True)
class Caller:
    """Credentials of the connected process, fixed when it connected. `via`: how he is known, if not by those."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]
    via: str = ""

    @property
    def name(self) -> str:
        """The user's name, for events and logs; the number where it has none."""
        return f"{user_name(self.uid)} ({self.via})" if self.via else user_name(self.uid)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What callers may do (architecture.md, Interfaces to the outside)."""

    own_uid: int
    admin_gid: int | None = None

    def admin(self, caller: Caller) -> bool:
        """Root, the controller's own account, members of the admin group."""
        if caller.uid in (0, self.own_uid):
            return True
        return self.admin_gid is not None and self.admin_gid in (caller.groups | {caller.gid})

    def sees(self, caller: Caller, owner_uid: int) -> bool:
        """Whether argv, working directory, logs and reasons of that owner's jobs are for this caller's eyes."""
        return caller.uid == owner_uid or self.admin(caller)

    @staticmethod
    def signals(caller: Caller, owner_uid: int) -> bool:
        """Whether the caller could signal the owner's processes himself, hence may move or cancel them."""
        return caller.uid in (0, owner_uid)


def caller_of(connection: socket.socket) -> Caller:
    """The peer of a connected unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Caller(pid, uid, gid, _groups(connection, uid, gid))


def user_name(uid: int) -> str:
    """Name of a uid; the number as text where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _groups(connection: socket.socket, uid: int, gid: int) -> frozenset[int]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # more groups than fit (ERANGE), or a kernel before 4.13
        return _configured_groups(uid, gid)
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


def _configured_groups(uid: int, gid: int) -> frozenset[int]:
    try:
        return frozenset(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return frozenset({gid})
