"""The kernel's keys as far as the reader may see them: /proc/keys (man 5 proc_keys). Pure."""

import re
from dataclasses import dataclass

from exporter.procfs.read import ParseError

_FIELDS = 9
_ID = re.compile("[0-9a-f]{8}")
_UID = re.compile("[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `description` names it; it holds no secret."""

    uid: int
    kind: str
    description: str


def parse_keys(raw: bytes) -> tuple[Key, ...]:
    """ID, flags, usage, time-out, permissions, uid, gid, type, `description: summary`.

    A description is its owner's to choose and may hold line breaks: what follows one is no key.
    """
    keys: list[Key] = []
    for line in raw.decode("utf-8", "surrogateescape").split("\n"):
        row = line.split(None, _FIELDS - 1)
        if len(row) == _FIELDS and _ID.fullmatch(row[0]) and _UID.fullmatch(row[5]):
            keys.append(Key(int(row[5]), row[7], row[8].rpartition(": ")[0] or row[8]))
        elif line.strip() and not keys:
            raise ParseError(f"/proc/keys: {line[:80]!r}")
    return tuple(keys)
