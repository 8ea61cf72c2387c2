"""A look without a controller: the same processes, numbers and rules, seen with the caller's own rights."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import Any

from offloader.adapters.journal.reading import open_read_only
from offloader.daemon.alerts import AlertLog
from offloader.daemon.assembly import load_setup, make_observer, metrics_source
from offloader.daemon.controller import View
from offloader.daemon.documents import move_document
from offloader.daemon.experience import Experience
from offloader.daemon.explaining import gone, not_yours, process_told
from offloader.daemon.keeps import Keeps
from offloader.daemon.mending import Place
from offloader.daemon.move_story import move_sentence
from offloader.daemon.scanning import check_nodes, scan_documents
from offloader.daemon.setup import Setup
from offloader.daemon.snapshot import Journalled, Measured, Observer
from offloader.daemon.status import rule_documents
from offloader.daemon.story import not_running, story
from offloader.daemon.toggles import KILL_SWITCH_FILE, SETTING, STATE, killed, toggles_of, unlock_command
from offloader.daemon.why_documents import cluster_document, move_why_document
from offloader.engine.plan import plan
from offloader.engine.schema import EngineState
from offloader.errors import JournalError, NotFound
from offloader.model import Attempt, Capacity, Job, Move, Obstacle, Receipt, Snapshot, Toggles
from offloader.strategies import STRATEGIES

__all__ = ["scan_without_controller", "why_without_controller"]

Document = dict[str, Any]

_AVAILABLE = tuple(strategy.name for strategy in STRATEGIES if not strategy.copies)
"""What needs criu is known to a controller alone, which asks both nodes."""


async def scan_without_controller(config: Path | None, nodes: tuple[str, ...], *, everything: bool) -> list[Document]:
    """What `scan` shows, from this process. Raises ConfigError, NotFound, UsageError."""
    setup = await asyncio.to_thread(load_setup, config)
    check_nodes(setup, nodes)
    async with _looking(setup) as look:
        snapshot = await look.snapshot(Toggles())
    return scan_documents(setup, snapshot, _AVAILABLE, _sees, everything=everything)


async def why_without_controller(config: Path | None, subject: int | str | None) -> Document:
    """What `why` tells, from this process, with what the journal holds where it may be read.

    Raises:
        ConfigError: the cluster file or rules have problems, or there is none.
        NotFound: there is no such process or move.
        NotPermitted: the process is somebody else's.
    """
    setup = await asyncio.to_thread(load_setup, config)
    async with _looking(setup) as look:
        if isinstance(subject, str):
            return _move(look.journal, subject)
        view = await look.view()
        if subject is None:
            return _cluster(view)
        found = await look.observer.candidate(setup, subject)
        if isinstance(found, Obstacle):
            raise gone(subject, found, look.journal.moves())
    if not _sees(found.leader.identity.uid):
        raise not_yours(subject, found)
    return process_told(subject, found, view, _AVAILABLE, running=False, private=os.geteuid() == 0)


@dataclass(frozen=True, slots=True)
class _Look:
    setup: Setup
    observer: Observer
    journal: Any

    async def snapshot(self, toggles: Toggles) -> Snapshot:
        return (await self._seen(toggles))[1]

    async def view(self) -> View:
        """One tick as a controller would make it, from the state that the last one left."""
        toggles, stored = self._toggles(), self.journal.setting(STATE)
        measured, snapshot = await self._seen(toggles)
        before = EngineState.from_json(stored) if stored is not None else EngineState()
        state, decisions = plan(self.setup.rules, before, snapshot, self.setup.policy, available=_AVAILABLE)
        return View(self.setup, snapshot, measured, state, decisions)

    async def _seen(self, toggles: Toggles) -> tuple[Measured, Snapshot]:
        measured = await self.observer.measure(self.setup, time.time())
        now = time.time()
        candidates = await self.observer.candidates(self.setup, self.observer.moves(now))
        return measured, self.observer.snapshot(self.setup, measured, toggles, now, candidates=candidates)

    def _toggles(self) -> Toggles:
        return toggles_of(self.journal.setting(SETTING), kill_switch=killed(_kill_switch(self.setup)))


@asynccontextmanager
async def _looking(setup: Setup) -> AsyncIterator[_Look]:
    source = metrics_source(setup.cluster)
    try:
        with _journal(setup.cluster.controller.state_dir) as journal:
            yield _Look(
                setup,
                make_observer(source, journal, Keeps(journal, time.time), Experience(journal), AlertLog(journal)),
                journal,
            )
    finally:
        await source.close()


def _cluster(view: View) -> Document:
    setup, toggles = view.setup, view.snapshot.toggles
    private = os.geteuid() == 0
    start = not_running(join(["grid-offloader", "serve", "--config", str(setup.file)]))
    told = story(view, toggles, start, Place(setup, unlock_command(_kill_switch(setup))), None, private=private)
    rules = rule_documents(view, setup.rules, toggles, setup.policy.head, private=private)
    moves = [move for move in view.snapshot.moves if not move.state.final]
    return cluster_document(told, rules, moves, t=view.snapshot.now, running=False, private=private)


def _move(journal: Any, move_id: str) -> Document:
    move: Move | None = journal.move(move_id)
    if move is None:
        raise NotFound(f"there is no move {move_id:.60} in the journal")
    job: Job | None = journal.job(move.job)
    document = move_document(move, job, steps=journal.timeline(move_id), attempts=journal.attempts(move.job))
    return move_why_document(document, move_sentence(move, job), t=time.time(), running=False)


def _sees(uid: int) -> bool:
    return os.geteuid() in (0, uid)


def _kill_switch(setup: Setup) -> Path:
    return setup.cluster.controller.state_dir / KILL_SWITCH_FILE


def _journal(state_dir: Path) -> Any:
    """The journal where it may be read; an ordinary user sees no reservations, which changes only the target shown."""
    try:
        return closing(open_read_only(state_dir))
    except JournalError:
        empty: Journalled = _NoJournal()
        return nullcontext(empty)


class _NoJournal:
    """Nothing in flight, nothing reserved, nothing stored."""

    def move(self, move_id: str) -> Move | None:
        """None."""
        _ = move_id
        return None

    def moves(self, *, active: bool | None = None, since: float | None = None, limit: int = 1000) -> tuple[Move, ...]:
        """None."""
        _ = active, since, limit
        return ()

    def fact(self, move_id: str, key: str) -> Any | None:
        """None."""
        _ = move_id, key
        return None

    def receipts(self, *, limit: int = 200) -> tuple[Receipt, ...]:
        """None."""
        _ = limit
        return ()

    def followed_jobs(self) -> tuple[Job, ...]:
        """None."""
        return ()

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """None."""
        _ = job_id
        return ()

    def setting(self, key: str) -> Any | None:
        """None."""
        _ = key
        return None

    def reserved(self) -> Mapping[str, Capacity]:
        """Nothing."""
        return {}
