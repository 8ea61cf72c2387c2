"""What is asked of the mover: one job, one target, one way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from offloader.model import Candidate, Capacity, Obstacle, Reason, StrategyName

__all__ = ["Bring", "MoveNode", "MovePlan", "Timings"]


@dataclass(frozen=True, slots=True)
class MovePlan:
    """A decision made by the engine or by a person; everything in it was checked before it gets here."""

    candidate: Candidate
    target: str
    strategy: StrategyName
    rule: str | None
    automatic: bool
    requested_by: int  # uid
    available: Capacity  # what the target offered when it was chosen, before the ledger's reservations
    backend: str = "ray"
    env: Mapping[str, str] = field(default_factory=dict)  # of `--runtime-env`; added to the job's own environment
    fallbacks: tuple[StrategyName, ...] = ()  # tried in turn where preflight finds something in the way of `strategy`
    capture_state: bool = True  # False: only command, directory, owner and streams travel
    approved_by: int | None = None  # uid of whoever agreed to what a rule had planned
    stage: bool | None = None  # whether its directory may be copied; None: as the configuration says

    @property
    def loses_s(self) -> float:
        """Seconds of work that are done again."""
        return self.candidate.age_s if self.strategy is StrategyName.RESTART else 0.0


@dataclass(frozen=True, slots=True)
class Bring:
    """A person's wish to have a job that is in our care on another node, or home."""

    target: str
    backend: str
    requested_by: int
    close_connections: bool = False

    def plan(self, candidate: Candidate, available: Capacity) -> MovePlan:
        """By the one way that takes a job on from where it is. `available`: what the target offers."""
        connected = Obstacle(Reason.REMOTE_CONNECTION, "whoever asked lets its connections be closed")
        return MovePlan(
            candidate=replace(candidate, only_live=connected if self.close_connections else None),
            target=self.target,
            strategy=StrategyName.LIVE,
            rule=None,
            automatic=False,
            requested_by=self.requested_by,
            available=available,
            backend=self.backend,
            stage=False,  # its results would come back to where it is now
        )


@dataclass(frozen=True, slots=True)
class MoveNode:
    """Where on a node the launcher lives and how the backend calls the node."""

    name: str
    address: str
    python: str
    state_dir: str
    criu: str = ""  # its path there; empty: what the node's PATH has
    opener: str = ""  # what the backend's account may start there by sudo; empty: it is ours, and starts the launcher


@dataclass(frozen=True, slots=True)
class Timings:
    """Every limit of the hand-off and of what follows it, seconds (safety.md, Hand-off)."""

    hold_s: float = 180.0  # queue wait and start of the launcher: costs the original nothing
    freeze_s: float = 4.0  # the guard itself gives up after 2 s
    save_s: float = 120.0
    ahead_s: float = 120.0  # how long a running job's memory may go to the target before it is frozen
    copy_s: float = 600.0  # a frozen job's memory on its way to the target
    restore_s: float = 120.0
    launch_s: float = 15.0
    prove_extra_s: float = 15.0  # beyond the settle time
    own_s: float = 10.0  # one wait for the answer; asked again on every new connection
    end_s: float = 15.0
    contact_s: float = 15.0  # lease (10 s) + margin (5 s): the original may thaw so long after the last grant
    verb_s: float = 15.0
    reservation_lag_s: float = 60.0  # until Prometheus shows the moved load at the target
    retry_s: float = 1.0
    reach_s: float = 60.0  # a node that does not answer for so long is told of; its jobs may run there all the same
    place_s: float = 5.0  # between two looks for a place for a job that is to start again
    again_s: float = 5.0  # pause before a second try to start a job again; doubled with every further one
    again_max_s: float = 300.0
    respawn_s: float = 600.0  # how long after a move its command must not appear at the source again
    respawn_look_s: float = 5.0
    history_s: float = 90 * 86400.0  # how long jobs that are over are remembered
