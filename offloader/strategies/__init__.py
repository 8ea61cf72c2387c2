"""How work gets from one attempt to the next: one strategy per file, all of one shape."""

from __future__ import annotations

from offloader.strategies.base import Source, Strategy
from offloader.strategies.checkpoint import Checkpoint
from offloader.strategies.live import Live
from offloader.strategies.restart import Restart

__all__ = ["STRATEGIES", "Source", "Strategy"]

STRATEGIES: tuple[Strategy, ...] = (Live(), Checkpoint(), Restart())
"""Best first: `auto` takes the first one whose preflight passes."""
