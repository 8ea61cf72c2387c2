"""What moves, the daemon and the command line need of the journal: jobs → attempts → moves, events, facts, ledger.

`adapters/journal` implements both protocols; tests may bring their own. Methods are synchronous and short (one local
transaction, about a millisecond); a write that returned is on the disk.

Errors, all writes: JournalError (disk full, no longer usable). With the disk full the store is `degraded`: `create` and
`reserve` raise JournalError, what moves in flight need goes on, events may be dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict, Unpack

from offloader.jobs.events import Event
from offloader.model import (
    Attempt,
    Capacity,
    Identity,
    Job,
    JobState,
    Move,
    MoveState,
    Reason,
    Receipt,
    Reservation,
    StrategyName,
)

__all__ = ["DECIDED", "MoveFields", "Reader", "Step", "Store"]

DECIDED = "decided"
"""Fact of a move: what was known and expected when it was decided (jobs.receipt_json.decided_document)."""


class Step(NamedTuple):
    """One line of a move's timeline."""

    t: float
    state: MoveState
    reason: Reason | None
    detail: str


class MoveFields(TypedDict, total=False):
    """What may change about a move besides its state."""

    target: str
    strategy: StrategyName
    backend: str
    submission_id: str | None
    downtime_s: float | None
    bytes_moved: int | None
    work_lost_s: float | None


class Reader(Protocol):
    """Looking: also possible without a controller, and while one writes."""

    def move(self, move_id: str) -> Move | None:
        """The move of that id."""

    def moves(self, *, active: bool | None = None, since: float | None = None, limit: int = 1000) -> tuple[Move, ...]:
        """Newest first. active: only those not final (True) or only final ones (False); since: updated at or after."""

    def move_of_process(self, identity: Identity) -> Move | None:
        """The newest move whose original is this process (boot id, pid, start time), final or not."""

    def job(self, job_id: str) -> Job | None:
        """The job of that id."""

    def jobs(self, *, state: JobState | None = None, since: float | None = None, limit: int = 1000) -> tuple[Job, ...]:
        """Newest first. since: created at or after."""

    def followed_jobs(self) -> tuple[Job, ...]:
        """All whose end somebody has to see: running ones, and those out of reach. Oldest first, without a limit.

        Not among them: jobs whose original runs on at its source, as its user started it.
        """

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """By ascending epoch."""

    def move_of_job(self, job_id: str) -> Move | None:
        """The job's newest move, final or not."""

    def moves_of_job(self, job_id: str) -> tuple[Move, ...]:
        """All of them, the first one first."""

    def timeline(self, move_id: str) -> tuple[Step, ...]:
        """Every state the move was in, oldest first, the first one being what it was created with."""

    def fact(self, move_id: str, key: str) -> Any | None:
        """What `set_fact` stored."""

    def receipt(self, move_id: str) -> Receipt | None:
        """What the move was worth and what it cost; None: not written yet. Raises JournalError for a newer one."""

    def receipts(self, *, limit: int = 200) -> tuple[Receipt, ...]:
        """Newest first. Raises JournalError for newer ones."""

    def without_receipt(self) -> tuple[Move, ...]:
        """Moves that are over and whose receipt is still to be written; oldest first.

        Not among them: moves of which nothing was kept when they were decided (DECIDED), as by versions before this.
        """

    def events(self, *, after: int = 0, limit: int = 1000, subject: str | None = None) -> tuple[Event, ...]:
        """Ascending by id, only those with id > after. With after=0: the newest `limit` ones."""

    def setting(self, key: str) -> Any | None:
        """What `set_setting` stored."""

    def reserved(self) -> Mapping[str, Capacity]:
        """Node → the sum of what is reserved on it. Nodes with nothing reserved are absent."""

    def reservations(self, *, holder: str | None = None) -> tuple[Reservation, ...]:
        """Oldest first; of one holder, or all."""


class Store(Reader, Protocol):
    """Looking and writing: one process at a time has this."""

    @property
    def degraded(self) -> bool:
        """Whether the disk is full: no new move is accepted, those in flight go on."""

    def create(self, job: Job, attempts: Sequence[Attempt], move: Move) -> None:
        """Store a planned move with its job and attempts (the latter two may exist already: then they are replaced).

        Raises:
            Refused: ALREADY_MOVING: its job or its process has a move that is not final.
            ValueError: the move's id is taken.
            JournalError: disk full.
        """

    def save_job(self, job: Job) -> None:
        """Insert or replace."""

    def save_attempt(self, attempt: Attempt) -> None:
        """Insert or replace."""

    def settle(self, job: Job, attempts: Sequence[Attempt]) -> None:
        """Insert or replace a job and some of its attempts, all or nothing: what ended, and what follows from it."""

    def prune(self, before: float) -> tuple[str, ...]:
        """Forget jobs that were over before that time (Unix seconds), with their attempts, moves and timelines.

        A bounded number at once, so that nobody waits for it. Returns their ids; none: nothing is left to forget.
        """

    def transition(
        self,
        move_id: str,
        state: MoveState,
        *,
        t: float,
        reason: Reason | None = None,
        detail: str = "",
        **fields: Unpack[MoveFields],
    ) -> Move:
        """Journal the next state; on the disk before it returns.

        Rolled back and lost release the move's reservations. After done they stay until `release`: the moved load does
        not show at the target yet.

        reason and detail given replace the move's own; left out, those stay (so that `rolled_back` still says why).

        Raises:
            IllegalTransition: the table does not allow it; nothing was written.
            NotFound: no such move.
        """

    def amend(self, move_id: str, *, t: float, **fields: Unpack[MoveFields]) -> Move:
        """Change fields of a move and leave its state. Raises NotFound."""

    def set_fact(self, move_id: str, key: str, value: Any) -> None:
        """Keep something JSON-able about a move (directories, the last grant). Never environments or secrets."""

    def add_event(self, event: Event) -> int:
        """Append; returns its id, 0 when it was dropped because the disk is full. Old ones are pruned."""

    def add_receipt(self, receipt: Receipt, event: Event) -> bool:
        """Write it down with the event that tells of it, all or nothing; False: it was written before, and stands.

        What was decided (DECIDED) is a part of it, and no fact any more.

        Raises:
            JournalError: disk full: to be written later, space for moves in flight is not spent on it.
        """

    def set_setting(self, key: str, value: Any) -> None:
        """Keep something JSON-able by name: toggles, the engine's state."""

    def reserve(self, reservation: Reservation, offer: Capacity) -> None:
        """Hold capacity, atomically against everything already held. The same id again replaces it.

        Args:
            reservation: what, where, for whom.
            offer: what the node offers now, before anything in the ledger is subtracted.

        Raises:
            Refused: TARGET_FULL: offer less what is reserved does not hold it.
        """

    def release(self, holder: str) -> None:
        """Give back everything that the holder has. Nothing held is fine."""
