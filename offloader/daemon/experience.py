"""What earlier moves say of estimates, kept at hand: reading every receipt at every tick would be waste."""

from __future__ import annotations

import logging
from typing import Protocol

from offloader.engine.correction import corrections
from offloader.errors import JournalError
from offloader.model import Corrections, Receipt

__all__ = ["Experience", "Receipts"]

log = logging.getLogger(__name__)

_LOOKED_THROUGH = 500
"""Receipts among which the newest of every strategy and class are."""


class Receipts(Protocol):
    """The part of the journal that it reads."""

    def receipts(self, *, limit: int = 200) -> tuple[Receipt, ...]:
        """Newest first."""


class Experience:
    """Called by whoever decides; told when there is something new."""

    def __init__(self, journal: Receipts) -> None:
        self._journal = journal
        self._known: Corrections | None = None

    def __call__(self) -> Corrections:
        """By strategy and class; nothing while the journal does not give its receipts."""
        if self._known is None:
            try:
                self._known = corrections(self._journal.receipts(limit=_LOOKED_THROUGH))
            except JournalError as error:
                log.warning("estimates are not corrected: %s", error)
                self._known = {}
        return self._known

    def look_again(self) -> None:
        """There is a new receipt."""
        self._known = None
