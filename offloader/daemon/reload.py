"""Reading configuration and rules again, by SIGHUP or on request: all of it is good, or nothing changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from offloader.config.models import Cluster
from offloader.daemon.controller import Controller
from offloader.daemon.setup import Setup
from offloader.daemon.ticker import Ticker
from offloader.errors import ConfigError, OffloaderError
from offloader.jobs.events import EventKind

__all__ = ["FIXED", "Reloader"]

log = logging.getLogger(__name__)

FIXED = ("nodes", "prometheus", "ray", "controller", "notify", "staging", "multi_user")
"""Sections whose connections and channels are made at the start: changes there need a restart, and a reload says so."""


class Reloader:
    """One reload at a time."""

    def __init__(self, controller: Controller, ticker: Ticker, load: Callable[[], Setup]) -> None:
        """Args: load: reads the files again; raises ConfigError with every problem."""
        self._controller = controller
        self._ticker = ticker
        self._load = load
        self._turn = asyncio.Lock()
        self.error: str | None = None
        self.succeeded_t: float | None = controller.parts.clock.time()

    async def reload(self, by: str) -> dict[str, Any]:
        """Load, replace, tick.

        Raises:
            ConfigError: what is wrong; the configuration in force stays.
        """
        parts = self._controller.parts
        async with self._turn:
            try:
                setup = await asyncio.to_thread(self._load)
                self._refuse_fixed(setup)
            except OffloaderError as error:
                self.error = str(error)
                words = f"reload by {by} refused, the configuration before it stays: {error}"
                parts.decisions.told(EventKind.CONTROLLER, "reload", words, parts.clock.time())
                raise
            await self._controller.replace(setup)
            self.error, self.succeeded_t = None, parts.clock.time()
        words = f"reload by {by}: {len(setup.rules)} rules in force"
        parts.decisions.told(EventKind.CONTROLLER, "reload", words, parts.clock.time())
        await self._ticker.now()
        return {"reloaded": True, "file": str(setup.file), "rules": [rule.key for rule in setup.rules]}

    async def on_hangup(self) -> None:
        """SIGHUP: nobody waits for an answer; the log, the metrics and `status` tell."""
        try:
            await self.reload("SIGHUP")
        except OffloaderError as error:
            log.warning("reload refused", extra={"error": error})

    def _refuse_fixed(self, setup: Setup) -> None:
        before, after = _fixed(self._controller.setup.cluster), _fixed(setup.cluster)
        changed = [name for name in FIXED if before[name] != after[name]]
        if changed:
            words = f"{setup.file}: {', '.join(changed)} changed: that needs a restart (moves in flight survive it)"
            raise ConfigError((words,))


def _fixed(cluster: Cluster) -> dict[str, Any]:
    """The fixed sections; whether a node is draining may change at any time."""
    sections = {name: getattr(cluster, name) for name in FIXED}
    return {**sections, "nodes": [node.model_copy(update={"draining": False}) for node in cluster.nodes]}
