"""What follows when an attempt of a job has ended after its hand-off: one table, pure (safety.md, Hand-off 12).

"Never two copies" comes before "exactly one": nothing is ever started again for an attempt that is only out of reach.
`Ending.VANISHED` is said by a fence that found, or left, nothing alive on the very node; silence is no ending.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

from offloader.model import Attempt, Completion

__all__ = ["EARLY_S", "ORIGINAL", "Circumstances", "Ending", "Step", "ending_of", "following", "launches", "tries"]

ORIGINAL = "original"
"""In place of an attempt's backend: it is the process that its user started, which was asked to save and runs on."""

EARLY_S = 600.0
"""A job that fails so soon after it was started elsewhere may have failed for being elsewhere."""

_LAUNCHES = 3  # the hand-off's own one, and two more
_FIRST_TRIES = 3  # of a job that `run` was to start: somebody waits for its first word
_TRIES = 10  # launches in a row that brought nothing to life; with the pauses between them about half an hour
_ASKED_TO_END = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})


class Ending(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = (
        "failed"  # another exit code, or a signal that nobody sends to make a program end (KILL is the OOM killer's)
    )
    TERMINATED = "terminated"  # TERM, INT, HUP or QUIT: somebody at the node wanted it to end
    CANCELLED = "cancelled"  # through us, by its owner
    SAVED = "saved"  # it ended because it was asked to, and goes on from what it saved
    VANISHED = "vanished"  # its launcher is gone, and by a fence nothing of it is left
    NOT_STARTED = "not_started"  # it never came to life; nothing runs for it, and nothing ever will


class Step(StrEnum):
    """What follows."""

    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    LOSE = "lose"
    AGAIN_ELSEWHERE = "again_elsewhere"
    AGAIN_AT_SOURCE = "again_at_source"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the step depends on besides the ending.

    `at_source`: it ran where its user had started it. `lived_s`: from its start to its end. `launches`, `tries`: see
    there. `capsule`: whether there is something to start it from. `original`: whether its user had started it at a
    source (False: `run` did elsewhere: what it does there is its own result, and before it ran nothing can be lost).
    `restored`: it went on from an image, so how it ends is its own result too, however soon.
    """

    at_source: bool
    lived_s: float
    restart_safe: bool
    launches: int
    tries: int
    capsule: bool
    original: bool = True
    restored: bool = False


def following(ending: Ending, seen: Circumstances) -> Step:
    """The table."""
    again = Step.AGAIN_AT_SOURCE if seen.at_source else Step.AGAIN_ELSEWHERE
    match ending:
        case Ending.SUCCEEDED:
            return Step.SUCCEED
        case Ending.CANCELLED:
            return Step.CANCEL
        case Ending.TERMINATED:
            return Step.FAIL
        case Ending.FAILED:
            early = seen.original and not seen.restored and not seen.at_source and seen.lived_s < EARLY_S
            return Step.AGAIN_AT_SOURCE if early and seen.capsule else Step.FAIL
        case Ending.VANISHED:
            allowed = seen.restart_safe and seen.capsule and seen.launches < _LAUNCHES
            return again if allowed else Step.LOSE
        case Ending.NOT_STARTED | Ending.SAVED:
            most, given_up = (_TRIES, Step.LOSE) if seen.original or seen.launches else (_FIRST_TRIES, Step.FAIL)
            return again if seen.capsule and seen.tries < most else given_up


def ending_of(completion: Completion) -> Ending:
    """What an exit code or signal says by itself; neither of both: it vanished."""
    if completion == Completion():
        return Ending.VANISHED
    if completion.signal is not None:
        return Ending.TERMINATED if completion.signal in _ASKED_TO_END else Ending.FAILED
    return Ending.SUCCEEDED if completion.exit_code == 0 else Ending.FAILED


def launches(attempts: tuple[Attempt, ...]) -> int:
    """How often the job was brought to life after its user had started it."""
    return sum(attempt.epoch > 0 and attempt.pid is not None and attempt.backend != ORIGINAL for attempt in attempts)


def tries(attempts: tuple[Attempt, ...]) -> int:
    """How many attempts in a row, the newest included, were not brought to life."""
    count = 0
    for attempt in sorted(attempts, key=lambda one: one.epoch, reverse=True):
        if attempt.pid is not None:
            break
        count += 1
    return count
