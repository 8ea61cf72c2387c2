"""What the person at the terminal reads while it happens; everything here goes to standard error."""

import sys
import time

__all__ = ["Story"]

WIDTH = 78


class Story:
    """Prints chapters and events with the time since the start."""

    def __init__(self) -> None:
        self._start = time.time()

    def chapter(self, title: str) -> None:
        """A new part."""
        self._print("")
        self._print(f"── {title} ".ljust(WIDTH, "─"))

    def line(self, text: str) -> None:
        """A remark."""
        self._print(f"            {text}")

    def event(self, t: float, name: str, text: str) -> None:
        """Something that happened at Unix time `t`."""
        self._print(f"{t - self._start:8.1f} s  {name:<16} {text}".rstrip())

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
