"""Forgetting what is long over: the journal's moves and jobs, and with them the capsules of lost ones."""

from __future__ import annotations

import logging

from offloader.errors import JournalError
from offloader.moves.tools import Tools

__all__ = ["forget_the_old"]

log = logging.getLogger(__name__)

_LOOK_S = 3600.0
_PAUSE_S = 0.5


async def forget_the_old(tools: Tools) -> None:
    """For ever, now and then; in small portions, so that nobody waits for it."""
    while True:
        try:
            forgotten = tools.store.prune(tools.clock.time() - tools.timings.history_s)
        except JournalError as error:
            log.warning("nothing forgotten: %s", error)
            forgotten = ()
        for job in forgotten:
            tools.capsules.drop(job)
        await tools.clock.sleep(_PAUSE_S if forgotten else _LOOK_S)
