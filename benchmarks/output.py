"""Where a benchmark's words go: progress to standard error, its table to people, its document to a file."""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from benchmarks.errors import CannotRunError

Say = Callable[[str], None]
"""Where progress goes."""

STDOUT = "-"


class Output:
    """The document goes to the file `path`; with `-` to standard output, and what is for people to standard error."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._to_people = sys.stderr if path == STDOUT else sys.stdout

    def tell(self, text: str) -> None:
        """People."""
        _print(text, self._to_people)

    def save(self, document: Mapping[str, object]) -> None:
        """Write the file anew, if it is to be one. Raises CannotRunError."""
        if self._path is None or self._path == STDOUT:
            return
        try:
            Path(self._path).write_text(_json(document) + "\n", encoding="utf-8")
        except OSError as error:
            raise CannotRunError(f"cannot write {self._path}: {error.strerror}") from error

    def end(self, document: Mapping[str, object]) -> None:
        """It is final. Raises CannotRunError."""
        self.save(document)
        if self._path == STDOUT:
            _print(_json(document), sys.stdout)


def say(text: str) -> None:
    """Progress, to standard error."""
    _print(f"benchmark: {text}", sys.stderr)


def now() -> str:
    """As documents have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _json(document: Mapping[str, object]) -> str:
    return json.dumps(document, indent=1)


def _print(text: str, where: TextIO) -> None:
    print(text, file=where, flush=True)
