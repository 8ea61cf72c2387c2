"""What is wrong in a file that people wrote, with its place. Collected, sorted and reported all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from offloader.errors import ConfigError

__all__ = ["Problem", "did_you_mean", "raise_for"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"

    def document(self) -> dict[str, str | int]:
        """As JSON."""
        return {"file": self.file, "line": self.line, "column": self.column, "message": self.message}


def raise_for(problems: Iterable[Problem]) -> None:
    """Raises ConfigError with every problem in the order of the files, when there is one."""
    ordered = sorted(set(problems))
    if ordered:
        raise ConfigError(tuple(str(problem) for problem in ordered))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` for the likeliest known word, else the known words, else nothing."""
    words = sorted(set(known))
    close = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known here: {', '.join(words)}" if words else ""
