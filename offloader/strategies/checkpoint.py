"""Checkpoint: the job saves its state and ends when it is asked to, and the same command line goes on from there.

It is not frozen: to save it has to run. How it is asked and what shows that it saved is the job's own declaration
(model.Checkpointing); one that does not save in time simply goes on here, and is started again when it saves later.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any

from offloader.model import Candidate, Obstacle, Reason, StrategyName
from offloader.strategies import again
from offloader.strategies.base import Source

__all__ = ["Checkpoint"]

_SHOWN = {
    "exit_85": "it said that it saved (exit code 85)",
    "file": "its checkpoint file is fresh",
    "unseen": "it ended as asked; its exit code is not to be had on this kernel",
}


class Checkpoint:
    """Asks the job to save, and starts its leader again from its capsule."""

    name = StrategyName.CHECKPOINT
    freezes = False
    copies = False
    lifts = frozenset({Reason.LOCKED})  # ending, it lets go of its locks

    def state_in(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[bytes, ...]:
        """Where its checkpoint file is; where none is declared, its working directory."""
        how = candidate.checkpointing
        if how is not None and how.file is not None:
            return (os.path.dirname(how.file),)  # noqa: PTH120 (bytes)
        return (base64.b64decode(capture.get("cwd", "")),)

    def obstacles(self, candidate: Candidate, capture: Mapping[str, Any]) -> tuple[Obstacle, ...]:
        """As for every command that is run again; and it has to be known how this one is asked."""
        missing = candidate.no_checkpoint
        return (*((missing,) if missing is not None else ()), *again.obstacles(candidate, capture))

    async def save(self, source: Source, candidate: Candidate) -> str:
        """The job saves by itself; the original has ended when this returns."""
        assert candidate.checkpointing is not None
        how = await source.checkpoint(candidate.checkpointing)
        return _SHOWN.get(how, how)

    def settle_s(self, age_s: float) -> float:
        """See again.settle_s."""
        return again.settle_s(age_s)
