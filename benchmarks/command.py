"""What the command lines of all benchmarks have in common: exit statuses, signals, numbers."""

import argparse
import signal
from types import FrameType

EXIT_MISSED = 1
EXIT_CANNOT = 2
EXIT_INTERRUPTED = 130

EXIT_STATUSES = (
    "Exit status: 0 all goals hold, 1 one is missed, 2 something cannot be run here (the message says what is "
    "missing), 130 interrupted."
)


def tidy_up_when_told_to_end() -> None:
    """Signals that would end this process raise KeyboardInterrupt instead."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)


def number(text: str) -> int:
    """For argparse: 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def count(text: str) -> int:
    """For argparse: 1 or more."""
    if (given := number(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return given


def seconds(text: str) -> float:
    """For argparse: a time, finite, not negative."""
    try:
        given = float(text)
    except ValueError:
        given = -1.0
    if not 0 <= given < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return given


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- signature of signal handlers
    raise KeyboardInterrupt
