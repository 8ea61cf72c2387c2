"""Jobs, their attempts, and the moves between those."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from offloader.model.processes import Identity
from offloader.model.reasons import Reason
from offloader.model.resources import Mode, StrategyName

__all__ = ["Attempt", "AttemptState", "Completion", "Job", "JobState", "Move", "MoveState"]


class MoveState(StrEnum):
    """The hand-off's journalled states, in their one order, and its three ends (safety.md, Hand-off)."""

    PLANNED = "planned"
    PREFLIGHTED = "preflighted"
    RESERVED = "reserved"
    QUEUED = "queued"
    HELD = "held"
    FROZEN = "frozen"
    SAVED = "saved"
    GO = "go"
    PROVEN = "proven"
    OWNING = "owning"
    OWNED = "owned"
    ENDED = "ended"
    DONE = "done"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in (MoveState.DONE, MoveState.ROLLED_BACK, MoveState.LOST)

    @property
    def committed(self) -> bool:
        """Whether the successor owns the work: from here there is no roll-back."""
        return self in (MoveState.OWNED, MoveState.ENDED, MoveState.DONE)


class JobState(StrEnum):
    """A job over its whole life."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    UNKNOWN = "unknown"


class AttemptState(StrEnum):
    """One place where a job ran or should have run. Unknown is an answer too: never success, never lost."""

    PENDING = "pending"  # nothing runs there that owns the work
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"  # ownership was asked for: whether it owns the work is known when its node answers


@dataclass(frozen=True, slots=True)
class Completion:
    """How a process ended: its exit code, or the signal that ended it. Both None: not known."""

    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of a user's work over its whole life; `id` is a ULID."""

    id: str
    user: str
    uid: int
    name: str  # program or script base name, harmless to show
    created_t: float
    state: JobState = JobState.RUNNING
    completion: Completion = Completion()
    restart_safe: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """Epoch `epoch` of a job: where and as what it ran. Epoch 0 is the process that its user started.

    `node` is empty while a pending attempt has no place yet; `pid` is set once its command was executed. `resumed_t`:
    when the checkpoint was made from which it went on; None: it began from its start, or that is not known.
    """

    job: str
    epoch: int
    node: str
    backend: str  # "local" for epoch 0
    submission_id: str | None
    pid: int | None
    state: AttemptState
    started_t: float
    ended_t: float | None = None
    completion: Completion = Completion()
    resumed_t: float | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """The hand-off from one attempt to the next. `id` is what people type: offload_<unix seconds>_<pid>.

    `approved_by`: uid of whoever agreed to what a rule had planned; None: nobody had to. `downtime_s`: how long the
    work stood still. `bytes_moved` (of the job's state) and `work_lost_s` (done again) are for strategies to say; None:
    not known, or to be told from the timeline.
    """

    id: str
    job: str
    from_epoch: int
    to_epoch: int
    identity: Identity
    source: str
    target: str
    strategy: StrategyName
    backend: str
    state: MoveState
    requested_by: int  # uid
    automatic: bool
    rule: str | None
    created_t: float
    updated_t: float
    submission_id: str | None = None
    reason: Reason | None = None
    detail: str = ""
    downtime_s: float | None = None
    bytes_moved: int | None = None
    work_lost_s: float | None = None
    approved_by: int | None = None

    @property
    def least_ceiling(self) -> Mode | None:
        """The ceiling below which it must not go on; None: a person asked for it, whatever rules may."""
        if not self.automatic:
            return None
        return Mode.AUTO if self.approved_by is None else Mode.APPROVE
