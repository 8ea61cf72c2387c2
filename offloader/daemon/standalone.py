"""A look without a controller: the same processes, numbers and rules, seen with the caller's own rights."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from offloader.adapters.journal.reading import open_read_only
from offloader.daemon.assembly import load_setup, make_observer, metrics_source
from offloader.daemon.scanning import check_nodes, scan_documents
from offloader.daemon.snapshot import Journalled
from offloader.errors import JournalError
from offloader.model import Capacity, Move, Toggles
from offloader.strategies import STRATEGIES

__all__ = ["scan_without_controller"]


async def scan_without_controller(
    config: Path | None, nodes: tuple[str, ...], *, everything: bool
) -> list[dict[str, Any]]:
    """What `scan` shows, from this process. Raises ConfigError, NotFound, UsageError."""
    setup = await asyncio.to_thread(load_setup, config)
    check_nodes(setup, nodes)
    source = metrics_source(setup.cluster)
    try:
        with _journal(setup.cluster.controller.state_dir) as journal:
            observer = make_observer(source, journal)
            measured = await observer.measure(setup, time.time())
            now = time.time()
            candidates = await observer.candidates(setup, observer.moves(now))
            snapshot = observer.snapshot(setup, measured, Toggles(), now, candidates=candidates)
    finally:
        await source.close()
    own = os.geteuid()
    available = tuple(strategy.name for strategy in STRATEGIES)
    return scan_documents(setup, snapshot, available, lambda uid: own in (0, uid), everything=everything)


def _journal(state_dir: Path) -> Any:
    """The journal where it may be read; an ordinary user sees no reservations, which changes only the target shown."""
    try:
        return closing(open_read_only(state_dir))
    except JournalError:
        empty: Journalled = _NoJournal()
        return nullcontext(empty)


class _NoJournal:
    """Nothing in flight, nothing reserved."""

    def moves(self, *, active: bool | None = None, since: float | None = None, limit: int = 1000) -> tuple[Move, ...]:
        """None."""
        _ = active, since, limit
        return ()

    def fact(self, move_id: str, key: str) -> Any | None:
        """None."""
        _ = move_id, key
        return None

    def reserved(self) -> Mapping[str, Capacity]:
        """Nothing."""
        return {}
