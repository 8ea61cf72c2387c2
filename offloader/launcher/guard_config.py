"""What a guard is told: whose processes, and how long it waits for what."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from .errors import LauncherError
from .wire import Document

__all__ = ["GuardConfig", "load"]

_MOVE = re.compile(r"[0-9A-Za-z_-]{1,100}")
_IDENTITY = ("boot_id", "pid", "start_ticks", "uid", "exe_dev", "exe_inode")
_TIMES = ("limit_s", "freeze_s", "unlinked_s")
_WAYS = ("v1", "v2", "stop")


@dataclass(frozen=True)
class GuardConfig:
    """Times in seconds; `limit_s` without contact a frozen job thaws."""

    move: str
    job: str
    epoch: int
    identities: tuple[Document, ...]
    limit_s: float = 15.0
    freeze_s: float = 2.0
    unlinked_s: float = 60.0
    ways: tuple[str, ...] = _WAYS

    def document(self) -> Document:
        """As JSON, for the state file; `load` reads it again."""
        return asdict(self)


def load(document: Document) -> GuardConfig:
    """Check a document. Raises LauncherError (BAD_CONFIG), naming the field."""
    move, job, epoch = document.get("move"), document.get("job"), document.get("epoch")
    if not isinstance(move, str) or not _MOVE.fullmatch(move):
        raise _bad("move", "letters, digits, _ and - only")
    if not isinstance(job, str):
        raise _bad("job", "a string")
    if not isinstance(epoch, int) or isinstance(epoch, bool):
        raise _bad("epoch", "an integer")
    ways = document.get("ways", _WAYS)
    if not isinstance(ways, (list, tuple)) or not set(ways) <= set(_WAYS):
        raise _bad("ways", f"of {', '.join(_WAYS)}")
    times = {name: _seconds(document, name, getattr(GuardConfig, name)) for name in _TIMES}
    return GuardConfig(move, job, epoch, _identities(document.get("identities")), ways=tuple(ways), **times)


def _identities(value: object) -> tuple[Document, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise _bad("identities", "at least the leader's")
    for one in value:
        if not isinstance(one, dict) or set(one) < set(_IDENTITY):
            raise _bad("identities", f"each with {', '.join(_IDENTITY)}")
        if not all(isinstance(one[name], int) for name in _IDENTITY[1:]) or not isinstance(one["boot_id"], str):
            raise _bad("identities", "integers, and the boot id as a string")
    return tuple({name: one[name] for name in _IDENTITY} for one in value)


def _seconds(document: Document, name: str, default: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise _bad(name, "seconds")
    return float(value)


def _bad(name: str, what: str) -> LauncherError:
    return LauncherError("BAD_CONFIG", f"{name}: {what}")
