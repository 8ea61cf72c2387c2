"""What one tick looks at: Prometheus' answers, the head's processes, the journal, the toggles."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from exporter.classify import classify
from offloader.daemon import quarantine
from offloader.daemon.setup import Setup
from offloader.engine.candidates import candidate_for, candidates_of
from offloader.engine.evaluate import stale_after_s
from offloader.model import (
    Attempt,
    Candidate,
    Capacity,
    Corrections,
    Job,
    Move,
    MoveState,
    NodeView,
    Obstacle,
    Process,
    Reading,
    Resource,
    Snapshot,
    Toggles,
    Truth,
)

__all__ = ["FROZEN_LOAD", "Alerted", "Journalled", "Kept", "Measure", "Measured", "Observer", "ReadProcesses"]

FROZEN_LOAD = "cores_before"
"""Fact of a move: the cores that its job used when it was chosen. While it is frozen they look like relief."""

_FROZEN = (MoveState.FROZEN, MoveState.SAVED, MoveState.GO, MoveState.PROVEN, MoveState.OWNING)
_REMEMBERED_S = 3600.0


class Measured(Protocol):
    """Prometheus' share of a snapshot (adapters.gather.Measurements)."""

    @property
    def values(self) -> Mapping[tuple[str, str], Reading]:
        """Rule values."""

    @property
    def whens(self) -> Mapping[tuple[str, str], Truth]:
        """Conditions."""

    @property
    def nodes(self) -> Mapping[str, NodeView]:
        """Views."""

    @property
    def ages_s(self) -> Mapping[str, float | None]:
        """Age of each node's newest raw sample."""

    @property
    def memory_stalls(self) -> Mapping[str, float | None]:
        """Share of time in which something on the heads waited for memory."""


class Journalled(Protocol):
    """The part of the journal that a snapshot holds."""

    def moves(self, *, active: bool | None = None, since: float | None = None, limit: int = 1000) -> tuple[Move, ...]:
        """Newest first."""

    def fact(self, move_id: str, key: str) -> Any | None:
        """Something kept about a move."""

    def reserved(self) -> Mapping[str, Capacity]:
        """The ledger by node."""

    def setting(self, key: str) -> Any | None:
        """Something kept by name."""

    def followed_jobs(self) -> tuple[Job, ...]:
        """Those whose end is still to come."""

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """By ascending epoch."""


Measure = Callable[..., Awaitable[Measured]]
Kept = Callable[[Mapping[int, Process]], Mapping[int, float]]
"""Of these processes those that their owners keep, by pid, and until when (Unix seconds)."""
Alerted = Callable[[Setup, float], frozenset[str]]
"""Keys of rules that name an alert which fires at that moment (Unix seconds)."""
ReadProcesses = Callable[[bool], Mapping[int, Process]]
"""All processes of the head by pid; with True in every detail. Blocks."""


class Observer:
    """Builds snapshots."""

    def __init__(
        self,
        measure: Measure,
        read_processes: ReadProcesses,
        journal: Journalled,
        kept: Kept = lambda _: {},
        corrections: Callable[[], Corrections] = dict,
        *,
        alerted: Alerted = lambda _setup, _now: frozenset(),
    ) -> None:
        """An observer of this machine.

        Args:
            measure: adapters.gather.gather with its source bound.
            read_processes: of this machine, the head.
            journal: what was done before.
            kept: what owners keep here.
            corrections: what earlier moves say of estimates.
            alerted: what Alertmanager says.
        """
        self._alerted = alerted
        self._corrections = corrections
        self._kept = kept
        self._measure = measure
        self._read = read_processes
        self._journal = journal

    async def measure(self, setup: Setup, now: float) -> Measured:
        """Ask Prometheus everything at once. Never raises: what went wrong is in the readings."""
        limit = stale_after_s(setup.policy, setup.cluster.prometheus.scrape_interval_s)
        return await self._measure(
            setup.rules, setup.roles, now=now, limit_s=limit, draining=setup.draining, lend=setup.lend
        )

    async def measure_past(self, setup: Setup, t: float) -> Measured:
        """What Prometheus showed at that moment (Unix seconds). Never raises."""
        limit = stale_after_s(setup.policy, setup.cluster.prometheus.scrape_interval_s)
        return await self._measure(setup.rules, setup.roles, now=t, limit_s=limit, past=True)

    async def keep_rates(self) -> None:
        """A light look at the processes: CPU rates need two, and pressure may come at any tick."""
        await asyncio.to_thread(self._read, False)

    async def candidates(self, setup: Setup, moves: tuple[Move, ...]) -> tuple[Candidate, ...]:
        """Every job on the head that matters, with everything that forbids moving it."""
        processes = classified(setup, await asyncio.to_thread(self._read, True))
        return await asyncio.to_thread(
            candidates_of,
            processes,
            node=setup.policy.head,
            policy=setup.policy,
            kept=self._kept(processes),
            moving=moving_pids(moves) | self._cared_for(setup.policy.head),
            own_pids=frozenset({os.getpid()}),
        )

    async def candidate(self, setup: Setup, pid: int) -> Candidate | Obstacle:
        """The job that one process of the head belongs to."""
        processes = classified(setup, await asyncio.to_thread(self._read, True))
        return await asyncio.to_thread(
            candidate_for,
            processes,
            pid,
            node=setup.policy.head,
            policy=setup.policy,
            kept=self._kept(processes),
            moving=moving_pids(self.moves(0.0)) | self._cared_for(setup.policy.head),
            own_pids=frozenset({os.getpid()}),
        )

    def _cared_for(self, head: str) -> frozenset[int]:
        """Pids on the head of jobs that their moves started again there: moved anew they would have two keepers."""
        attempts = (one for job in self._journal.followed_jobs() for one in self._journal.attempts(job.id)[-1:])
        return frozenset(one.pid for one in attempts if one.node == head and one.epoch > 0 and one.pid is not None)

    async def processes(self) -> Mapping[int, Process]:
        """Every process of the head, without detail."""
        return await asyncio.to_thread(self._read, False)

    def moves(self, now: float) -> tuple[Move, ...]:
        """Those in flight, and those that ended within the last hour (budgets count them)."""
        active = self._journal.moves(active=True)
        return (*active, *self._journal.moves(active=False, since=now - _REMEMBERED_S)) if now else active

    def snapshot(
        self,
        setup: Setup,
        measured: Measured,
        toggles: Toggles,
        now: float,
        *,
        candidates: tuple[Candidate, ...] = (),
        moves: tuple[Move, ...] | None = None,
    ) -> Snapshot:
        """One immutable picture of everything."""
        known = self.moves(now) if moves is None else moves
        return Snapshot(
            now=now,
            scrape_interval_s=setup.cluster.prometheus.scrape_interval_s,
            nodes=measured.nodes,
            values=measured.values,
            whens=measured.whens,
            candidates=candidates,
            toggles=toggles,
            moves=known,
            reserved=self._journal.reserved(),
            quarantined=quarantine.names_in_force(self._journal.setting(quarantine.SETTING), now),
            frozen_load=self._frozen_load(setup, measured, known),
            memory_stall=measured.memory_stalls.get(setup.policy.head),
            corrections=self._corrections(),
            alerted=self._alerted(setup, now),
        )

    def _frozen_load(self, setup: Setup, measured: Measured, moves: tuple[Move, ...]) -> dict[Resource, float]:
        """CPU only: a frozen job keeps its memory, and it still shows in what was observed."""
        head = measured.nodes.get(setup.policy.head)
        cores = sum(_number(self._journal.fact(move.id, FROZEN_LOAD)) for move in moves if move.state in _FROZEN)
        return {Resource.CPU: cores / head.total.cores} if cores and head and head.total.cores else {}


def classified(setup: Setup, processes: Mapping[int, Process]) -> Mapping[int, Process]:
    """The processes by the cluster's own class patterns, where it has any."""
    if not setup.cluster.classes:
        return processes
    wanted = setup.patterns
    return {
        pid: replace(process, process_class=classify(process.argv, comm=process.comm, patterns=wanted))
        for pid, process in processes.items()
    }


def moving_pids(moves: tuple[Move, ...]) -> frozenset[int]:
    """Pids of originals that are in flight."""
    return frozenset(move.identity.pid for move in moves if not move.state.final)


def _number(fact: Any) -> float:
    return float(fact) if isinstance(fact, int | float) else 0.0
