"""The little of a process's environment that decides whether it may move. The rest holds secrets and is dropped."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from exporter.movability import WISH
from exporter.procfs.pid import parse_environ

__all__ = ["Environment", "look"]

_TICKETS = b"KRB5CCNAME"
_CHECKPOINT_SIGNAL = b"GRID_OFFLOAD_CHECKPOINT_SIGNAL"
_CHECKPOINT_FILE = b"GRID_OFFLOAD_CHECKPOINT_FILE"
_LICENCE = re.compile(r"[A-Za-z0-9_]*licen[sc]e[A-Za-z0-9_]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Environment:
    """What is kept of an environment; names of variables, but values of none that could be secret.

    `path` and `tickets` (where Kerberos keeps its tickets) serve while the process is read, and go with this object.
    """

    readable: bool
    wish: str | None = None
    overwritten: bool = False
    checkpoint_signal: str | None = None
    checkpoint_file: bytes | None = None
    licence_variables: frozenset[str] = frozenset()
    path: str = field(default=os.defpath, repr=False)
    tickets: str | None = field(default=None, repr=False)


def look(raw: bytes | None) -> Environment:
    """From /proc/PID/environ; a title may have been written over it: then it has bytes, but no assignment."""
    if raw is None:
        return Environment(readable=False)
    variables = parse_environ(raw)
    wish, tickets = variables.get(WISH), variables.get(_TICKETS)
    checkpoint_signal = variables.get(_CHECKPOINT_SIGNAL)
    names = (name.decode("ascii", "replace") for name in variables)
    return Environment(
        readable=True,
        wish=wish.decode("utf-8", "replace") if wish is not None else None,
        overwritten=bool(raw) and not variables,
        checkpoint_signal=checkpoint_signal.decode("utf-8", "replace") if checkpoint_signal is not None else None,
        checkpoint_file=variables.get(_CHECKPOINT_FILE) or None,
        licence_variables=frozenset(name for name in names if _LICENCE.fullmatch(name)),
        path=os.fsdecode(variables.get(b"PATH", os.fsencode(os.defpath))),
        tickets=os.fsdecode(tickets) if tickets is not None else None,
    )
