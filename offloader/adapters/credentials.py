"""What a process may prove its owner's identity with and would not find elsewhere: tickets, tokens, kernel keys."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from exporter.procfs.keys import Key
from exporter.procfs.process import ProcessFacts
from offloader.adapters.environment import Environment

__all__ = ["credentials_of", "key_rings"]

_DEFAULT_TICKETS = "/tmp/krb5cc_{uid}"  # noqa: S108 -- looked for, never written: MIT krb5, default_ccache_name
_ELSEWHERE = ("KEYRING", "KCM", "API")
"""Ticket caches that are no file (MIT krb5, "Credential caches"). MEMORY belongs to a program that gets its own."""

_KEY_KINDS = {"rxrpc": "AFS tokens", "afs_pag": "AFS tokens"}
_KERBEROS_KEYS = ("krb_ccache", "_krb")
_PAG = 0x41
"""AFS marks a process authentication group by a supplementary group whose highest byte is `A` (OpenAFS, pagsh(1))."""


def key_rings(keys: Iterable[Key]) -> Mapping[int, frozenset[str]]:
    """By uid, the credentials that the kernel keeps for it, in words."""
    found: dict[int, set[str]] = {}
    for key in keys:
        words = _KEY_KINDS.get(key.kind)
        if words is None and key.description.startswith(_KERBEROS_KEYS):
            words = "Kerberos tickets in the kernel's keys"
        if words is not None:
            found.setdefault(key.uid, set()).add(words)
    return {uid: frozenset(words) for uid, words in found.items()}


def credentials_of(
    known: ProcessFacts, environment: Environment, rings: Mapping[int, frozenset[str]]
) -> tuple[str, ...]:
    """In words for people, without values. A ticket file that does not exist any more counts for nothing."""
    found = set(rings.get(known.uid, ()))
    if _tickets(known, environment):
        found.add("Kerberos tickets")
    if any(group >> 24 == _PAG for group in known.status.groups):
        found.add("AFS tokens")
    return tuple(sorted(found))


def _tickets(known: ProcessFacts, environment: Environment) -> bool:
    if known.kernel_thread or not environment.readable:
        return False
    name = environment.tickets or _DEFAULT_TICKETS.format(uid=known.status.uids[0])
    kind, separator, rest = name.partition(":")
    if separator and kind in _ELSEWHERE:
        return True
    if separator and kind not in ("FILE", "DIR", "WRFILE"):
        return False
    return os.path.exists(rest if separator else name)  # noqa: PTH110 -- bytes that are no UTF-8 stay as they are
