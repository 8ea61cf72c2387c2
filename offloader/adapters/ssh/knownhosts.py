"""known_hosts files as OpenSSH writes them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), read-only and strict.

Ours rather than paramiko's: that one passes over `@revoked`, name patterns and a second key of the same type.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

__all__ = ["Entry", "KnownHosts", "Verdict", "fingerprint", "host_key_name"]


class Verdict(Enum):
    """What the files say about a key that a server shows."""

    KNOWN = "known"
    UNKNOWN = "unknown"  # nothing is known of this host
    CHANGED = "changed"  # other keys are known of this host
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `source` is file:line."""

    revoked: bool
    names: str
    key_type: str
    key: str
    source: str

    def concerns(self, name: str) -> bool:
        """Whether the line's names, patterns or hash match `name`; a negated pattern that matches wins."""
        if self.names.startswith("|1|"):
            return _hash_matches(self.names, name)
        patterns = self.names.lower().split(",")
        if any(each.startswith("!") and _pattern_matches(each[1:], name) for each in patterns):
            return False
        return any(_pattern_matches(each, name) for each in patterns)


class KnownHosts:
    """What several files say together."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)

    @classmethod
    def read(cls, files: Iterable[Path]) -> KnownHosts:
        """Files that do not exist know nothing. Raises OSError for those that may not be read."""
        entries: list[Entry] = []
        for file in files:
            try:
                text = file.read_text("utf-8", "replace")
            except FileNotFoundError:
                continue
            lines = enumerate(text.splitlines(), start=1)
            entries += [entry for number, line in lines if (entry := _parsed(line, f"{file}:{number}"))]
        return cls(entries)

    def key_types(self, name: str) -> tuple[str, ...]:
        """Types of the keys known of a host, for the negotiation: the server should show one that can be checked."""
        return tuple(dict.fromkeys(entry.key_type for entry in self._about(name)))

    def sources(self, name: str) -> tuple[str, ...]:
        """Where the host's keys are written."""
        return tuple(entry.source for entry in self._about(name))

    def verdict(self, name: str, key: str) -> Verdict:
        """Args: name: as `host_key_name` gives it; key: base64, as in the files."""
        if any(entry.revoked and entry.key == key and entry.concerns(name) for entry in self._entries):
            return Verdict.REVOKED
        known = [entry.key for entry in self._about(name)]
        if key in known:
            return Verdict.KNOWN
        return Verdict.CHANGED if known else Verdict.UNKNOWN

    def _about(self, name: str) -> list[Entry]:
        return [entry for entry in self._entries if not entry.revoked and entry.concerns(name)]


def host_key_name(host: str, port: int) -> str:
    """The name under which OpenSSH keeps the key of a server."""
    host = host.lower()
    return host if port == 22 else f"[{host}]:{port}"  # noqa: PLR2004 - SSH's registered port


def fingerprint(key: str) -> str:
    """As `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(base64.b64decode(key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _parsed(line: str, source: str) -> Entry | None:
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    # @cert-authority lines say nothing about plain keys, and certificates of hosts are not supported.
    if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):  # noqa: PLR2004 - names, type, key
        return None
    return Entry(marker == "@revoked", fields[0], fields[1], fields[2], source)


def _pattern_matches(pattern: str, name: str) -> bool:
    """`*` and `?` only; brackets are literal, they enclose the host in `[host]:port`."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _hash_matches(hashed: str, name: str) -> bool:
    try:
        _, _, salt, expected = hashed.split("|")
        digest = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(digest, base64.b64decode(expected))
    except (ValueError, binascii.Error):
        return False
