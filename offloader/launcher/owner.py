"""Becoming the job's owner: name and uid must agree on both nodes, and nothing is gained on the way."""

from __future__ import annotations

import os
import pwd
from typing import NamedTuple, Protocol

from .kernel import no_new_privileges

__all__ = ["Account", "Owner", "become", "mismatch"]


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


class Account(NamedTuple):
    """An owner by itself."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]


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
        allowed = os.getgrouplist(image.user, image.gid)
        os.setgroups(sorted(set(allowed) & {image.gid, *image.groups}))
        os.setresgid(image.gid, image.gid, image.gid)
        os.setresuid(image.uid, image.uid, image.uid)
    no_new_privileges()
