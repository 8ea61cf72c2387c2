"""An original that was asked to save and had not when its move was given up: its guard is asked until it has ended."""

from __future__ import annotations

from offloader.errors import ExternalError
from offloader.jobs.aftermath import Ending, ending_of
from offloader.model import Move
from offloader.moves.agent import VerbFailed
from offloader.moves.follow import Ended
from offloader.moves.guarding import Guard
from offloader.moves.link import LinkLost
from offloader.moves.tools import Tools

__all__ = ["LateSaver"]

_LOOK_S = 3600.0


class LateSaver:
    """One such original. Its guard is started again where it died; a node that was booted says so itself."""

    def __init__(self, move: Move, tools: Tools) -> None:
        self._tools = tools
        self._guard = Guard(tools.agents[move.source], move, tools.timings)

    async def run(self) -> Ended:
        """Until it has ended."""
        while True:
            try:
                if not await self._guard.adopt():
                    return Ended(Ending.FAILED, detail="nothing is known of it any more at its node")
                while not await self._guard.ended(_LOOK_S):
                    pass
            except (LinkLost, ExternalError, VerbFailed, TimeoutError):
                await self._guard.leave()
                await self._tools.clock.sleep(self._tools.timings.retry_s)
            else:
                break
        await self._guard.quit()
        if self._guard.state == "saved":
            return Ended(Ending.SAVED, self._guard.completion, detail="it had been asked to save its state")
        return Ended(ending_of(self._guard.completion), self._guard.completion)
