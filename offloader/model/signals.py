"""Signals by the names that people write."""

from __future__ import annotations

import signal

__all__ = ["signal_name", "signal_number"]

_UNFIT = frozenset({signal.SIGKILL, signal.SIGSTOP})


def signal_number(name: str) -> int | None:
    """The number for USR1, SIGUSR1 or 10; None for what is no signal that a process can handle (signal(7))."""
    if name.isascii() and name.isdigit():
        number = int(name)
        found = number if 0 < number < signal.NSIG else None
    else:
        word = name.upper().removeprefix("SIG")
        found = next((one.value for one in signal.Signals if one.name == f"SIG{word}"), None)
    return None if found in _UNFIT else found


def signal_name(number: int) -> str:
    """USR1 for 10; real-time signals have none of their own and are shown as numbers."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
