"""Why a hand-off stops, as one exception that carries the reason code and a sentence for people."""

from __future__ import annotations

from offloader.errors import BackendError, ExternalError, JournalError, Refused
from offloader.model import Reason
from offloader.moves.agent import VerbFailed
from offloader.moves.link import LinkLost

__all__ = ["STOPPERS", "Stopped", "stopped_by"]


class Stopped(Exception):
    """The hand-off cannot or must not go on; it is rolled back with this reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


STOPPERS = (Stopped, VerbFailed, LinkLost, ExternalError, JournalError, Refused, TimeoutError)
"""Everything that a step may raise and that the roll-back answers."""


def stopped_by(error: BaseException, during: str) -> Stopped:
    """The reason behind any of STOPPERS, or a fault of ours, with what was being done at that time."""
    if isinstance(error, Stopped):
        return error
    return Stopped(_reason(error), _sentence(error, during))


_REASONS: tuple[tuple[type[BaseException], Reason], ...] = (
    (LinkLost, Reason.LINK_LOST),
    (JournalError, Reason.JOURNAL_FAILED),
    (TimeoutError, Reason.TIMEOUT),
    (BackendError, Reason.SUBMIT_FAILED),
)


def _reason(error: BaseException) -> Reason:
    if isinstance(error, Refused):
        return error.reason
    if isinstance(error, VerbFailed) and error.code in Reason.__members__:
        return Reason(error.code)
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.LAUNCH_FAILED)


def _sentence(error: BaseException, during: str) -> str:
    if isinstance(error, TimeoutError):
        return f"{during} did not happen in time"
    if not isinstance(error, STOPPERS):  # a fault of ours, whose text may hold anything
        return f"{during} failed: {type(error).__name__}"
    return f"{during}: {error}"
