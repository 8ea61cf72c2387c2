"""Becoming the job's owner: name and uid must agree on both nodes, and nothing is gained on the way.

A group is the same one when number and name agree. Without root a launcher cannot give its groups up: `gained` tells.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from .errors import LauncherError
from .kernel import no_new_privileges
from .wire import Document

__all__ = ["ALMOST_ROOT", "Account", "Owner", "account", "become", "gained", "mismatch"]

ALMOST_ROOT = frozenset({"root", "docker", "lxd", "incus-admin", "libvirt", "disk", "shadow", "kmem"})
"""Groups whose members can make themselves root."""


class Owner(Protocol):
    """Whose work it is (capsule.Image)."""

    @property
    def user(self) -> str:
        """Its name at the source."""

    @property
    def uid(self) -> int:
        """Its number there."""

    @property
    def gid(self) -> int:
        """The job's group."""

    @property
    def groups(self) -> tuple[int, ...]:
        """The job's supplementary groups."""

    @property
    def group_names(self) -> Mapping[int, str]:
        """What its groups are called at the source; of one that is missing only the number is known."""


class Account(NamedTuple):
    """An owner by itself."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    group_names: Mapping[int, str] = {}

    def document(self) -> Document:
        """As it travels, and as `account` reads it."""
        return self._asdict()


def account(document: Document) -> Account:
    """An owner as it travels: the fields of a captured process that say whose it is.

    Raises:
        LauncherError: BAD_MESSAGE: one is missing, or of another type.
    """
    try:
        return Account(
            str(document["user"]),
            int(document["uid"]),
            int(document["gid"]),
            tuple(int(group) for group in document["groups"]),
            {int(number): str(name) for number, name in document.get("group_names", {}).items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LauncherError("BAD_MESSAGE", f"owner: {error!r}") from error


def mismatch(image: Owner) -> str | None:
    """Why this node may not run the job as its owner, in one sentence; None when it may."""
    try:
        here = pwd.getpwuid(image.uid)
    except KeyError:
        return f"uid {image.uid} ({image.user}) does not exist on this node"
    if here.pw_name != image.user:
        return f"uid {image.uid} is {image.user} on the source and {here.pw_name} on this node"
    if os.geteuid() != 0:
        return _ours(image)
    if image.gid not in os.getgrouplist(here.pw_name, here.pw_gid):
        return f"{image.user} is not in group {image.gid} on this node"
    if not _same(image.gid, image):
        there = image.group_names[image.gid]
        return f"group {image.gid} is {there} on the source and {_name(image.gid) or 'nobody'} on this node"
    return None


def gained(image: Owner) -> tuple[str, ...]:
    """The groups that the job would have here and has not at the source: names, or numbers where there is none."""
    if os.geteuid() == 0:
        return ()
    mine = {image.gid, *image.groups}
    return tuple(sorted(_name(gid) or str(gid) for gid in os.getgroups() if gid not in mine or not _same(gid, image)))


def _same(gid: int, image: Owner) -> bool:
    return image.group_names.get(gid) in (None, _name(gid))


def _name(gid: int) -> str | None:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return None


def _ours(image: Owner) -> str | None:
    """Without root the job must be ours as it is."""
    if os.geteuid() != image.uid:
        return f"the launcher runs as uid {os.geteuid()}, the job belongs to {image.user}"
    if os.getegid() != image.gid:
        return f"the job's group is {image.gid}, the launcher's is {os.getegid()}"
    return None


def become(image: Owner) -> None:
    """Drop to the owner for good. Groups: those of this node that it also had at the source. Raises OSError."""
    if os.geteuid() == 0:
        allowed = {gid for gid in os.getgrouplist(image.user, image.gid) if _same(gid, image)}
        os.setgroups(sorted(allowed & {image.gid, *image.groups}))
        os.setresgid(image.gid, image.gid, image.gid)
        os.setresuid(image.uid, image.uid, image.uid)
    no_new_privileges()
