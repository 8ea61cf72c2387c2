"""Writing down what has happened already: a journal that fails delays, it undoes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from offloader.errors import JournalError
from offloader.moves.tools import Tools

__all__ = ["surely"]

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")


async def surely(tools: Tools, what: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Ask the journal until it answers; what it raises besides JournalError is raised. `what`: for the log."""
    while True:
        try:
            return act(*args, **kwargs)
        except JournalError as error:
            log.warning("%s, not written or read yet: %s", what, error)
            await tools.clock.sleep(tools.timings.retry_s)
