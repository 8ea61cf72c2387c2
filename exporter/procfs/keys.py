"""The kernel's keys as far as the reader may see them: /proc/keys (man 5 proc_keys). Pure."""

from dataclasses import dataclass

from exporter.procfs.read import ParseError

_FIELDS = 9


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `description` names it; it holds no secret."""

    uid: int
    kind: str
    description: str


def parse_keys(raw: bytes) -> tuple[Key, ...]:
    """ID, flags, usage, time-out, permissions, uid, gid, type, `description: summary`."""
    lines = raw.decode("utf-8", "surrogateescape").splitlines()
    try:
        rows = [line.split(None, _FIELDS - 1) for line in lines if line.strip()]
        return tuple(Key(int(row[5]), row[7], row[8].rpartition(": ")[0] or row[8]) for row in rows)
    except (ValueError, IndexError) as error:
        raise ParseError(f"/proc/keys: {raw[:80]!r}") from error
