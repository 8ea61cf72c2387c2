"""What is kept of an original beyond its end: its name for quarantine, what it needs, and how to know it again.

Kept as a fact of its move, so it holds no argv: command and directory go in as a hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from offloader.engine.guard import name_of
from offloader.jobs.store import Reader
from offloader.model import Candidate, Capacity

__all__ = ["FACT", "Origin", "fingerprint", "of", "recalled"]

FACT = "origin"
"""The fact of a move under which it is kept."""


@dataclass(frozen=True, slots=True)
class Origin:
    """`name` is user:comm, as quarantine names processes; `usage` and `needs` are those of the whole job."""

    name: str
    usage: Capacity
    needs: Capacity
    fingerprint: str

    def document(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)


def of(candidate: Candidate, capture: Mapping[str, Any]) -> Origin:
    """Of what is about to be moved, given what `launcher capture` saw of its leader."""
    argv = [base64.b64decode(part) for part in capture.get("argv", ())]
    mark = fingerprint(candidate.identity.uid, argv, base64.b64decode(capture.get("cwd", "")))
    return Origin(name_of(candidate.leader), candidate.usage, candidate.needs, mark)


def recalled(store: Reader, move_id: str) -> Origin | None:
    """As it was kept; None for moves of a version that kept nothing."""
    kept = store.fact(move_id, FACT)
    if not isinstance(kept, Mapping):
        return None
    return Origin(kept["name"], Capacity(**kept["usage"]), Capacity(**kept["needs"]), kept["fingerprint"])


def fingerprint(uid: int, argv: Sequence[bytes], cwd: bytes) -> str:
    """The same for two processes of one user with one command line and one directory; tells nothing of either."""
    parts = (str(uid).encode(), cwd, *argv)
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).hexdigest()
