"""One thing in the way, as the launcher reports it: code, what was seen, what would mend it."""

from __future__ import annotations

from .wire import Document

__all__ = ["obstacle", "shown"]


def obstacle(reason: str, seen: str, remedy: str) -> Document:
    """`reason` is one of model.Reason."""
    return {"reason": reason, "seen": seen, "remedy": remedy}


def shown(path: bytes) -> str:
    """A path for people."""
    return path.decode("utf-8", "replace")
