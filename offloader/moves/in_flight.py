"""A move on its way: what the hand-off and the roll-back both hold in their hands."""

from __future__ import annotations

from typing import Any

from offloader.model import Move, MoveState
from offloader.moves.carrying import Carrying
from offloader.moves.guarding import Guard
from offloader.moves.imaging import Imaging
from offloader.moves.successor import Successor
from offloader.moves.tools import Tools

__all__ = ["InFlight"]


class InFlight:
    """One move with both of its ends: the guard of the original and the launcher of the successor."""

    def __init__(self, move: Move, tools: Tools) -> None:
        self.move = move
        self.tools = tools
        self.carrying = Carrying(tools, move.id)
        self.guard = Guard(tools.agents[move.source], move, tools.timings)
        self.successor = Successor(tools.agents[move.target], move.job, move.to_epoch, tools.timings, tools.clock)
        source, target = tools.agents[move.source], tools.agents[move.target]
        there, here = source.move_dir(move.id), target.attempt_dir(move.job, move.to_epoch)
        self.imaging = Imaging((source, there), (target, here))

    def to(self, state: MoveState, **fields: Any) -> None:
        """Journal the next state, durably, before the step that it allows. Raises JournalError."""
        before = self.move.state
        self.move = self.tools.store.transition(self.move.id, state, t=self.tools.clock.time(), **fields)
        self.tools.on_transition(self.move, before)

    async def leave(self) -> None:
        """Drop all connections, nothing else. A dump that is under way ends without them."""
        await self.imaging.close()
        await self.successor.leave()
        await self.guard.leave()
