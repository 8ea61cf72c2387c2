"""One state of the model: both nodes, the controller, what is on its way between them, and how long leases still run.

Time passes in slots of 5 s, so that the lease of 10 s is 2 slots and the contact of 15 s is 3. What has to happen
within the margin between the two (a launcher that notices that its lease is over and kills, a warden that kills what
its launcher left) happens at any time before the slot in which it fell due is over.

The network may delay, reorder and lose: whatever was sent to a launcher may be heard at any later time, also long after
the controller closed that connection, or never. Only what the controller itself hears is bound to a connection.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from offloader.jobs.transitions import TRANSITIONS, check_transition
from offloader.launcher.states import GUARD, HOLD
from offloader.model import MoveState

__all__ = [
    "CONTACT_S",
    "FROZEN",
    "LEASED",
    "LEASE_S",
    "SAFEGUARDS",
    "SLOT_S",
    "Attempt",
    "Rules",
    "Seen",
    "Step",
    "World",
    "executing",
    "first",
]

SLOT_S, LEASE_S, CONTACT_S = 5, 10, 15

LEASED = frozenset({"held", "launched", "proven"})
FROZEN = frozenset({"frozen", "holding", "changed"})
FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)

GO, OWN, ABORT, CONT, GRANT = 1, 2, 4, 8, 16  # on the way to a launcher; GRANT << age: to a question of that age
LAUNCHED, PROVEN, OWNED, ABORTED, FAILED, EXITED, RUNS, ASKED = 1, 2, 4, 8, 16, 32, 64, 128  # back; ASKED << age
ANSWERS = {
    "launched": LAUNCHED,
    "proven": PROVEN,
    "owned": OWNED,
    "aborted": ABORTED,
    "failed": FAILED,
    "exited": EXITED,
    "continued": RUNS,
}


class Attempt(NamedTuple):
    """One attempt of the job at its node, with what is on its way to it."""

    at: str = "target"  # or "source"
    capsule: str = ""  # waiting, claimed, revoked
    queued: bool = False  # its backend may start its launcher, once or more often, at any time
    state: str = ""  # of launcher.states.HOLD, as its state file has it
    up: bool = False  # the launcher's process
    child: bool = False  # the successor is there, and executes unless it is stopped
    live: bool = False  # its capsule is an image of the original
    stopped: bool = False  # restored from it, and not continued yet
    lease: int = -1  # slots left; -1: nobody said go
    net: int = 0


class World(NamedTuple):
    """Everything there is."""

    source_up: bool = True
    target_up: bool = True
    original: str = "run"  # ice (frozen), doomed (killed while frozen), end
    guard: str = ""  # of launcher.states.GUARD, as its state file has it
    guard_up: bool = False
    guard_left: int = 0  # slots until it thaws by itself
    late: str = ""  # a request to the guard that its sender gave up on and that may still be heard
    wrote: bool = False  # a successor wrote to the files that the original has open
    asked: bool = False  # it was asked to save although nothing of that is written down
    saved: bool = False  # the original ended because it was asked to save: the job is to go on from there
    attempts: tuple[Attempt, ...] = (Attempt(),)
    at: str = "place"  # what the controller is about to do; "down": it does not run
    journal: str = "planned"
    record: str = ""  # the newest attempt in the journal, once the move is over
    was_frozen: bool = False  # the journal has seen the original frozen
    known: str = "absent"  # what the controller knows of the guard; absent: not connected
    link: bool = False  # to the newest attempt's launcher
    grants: bool = False  # lease questions on that connection are answered
    inbox: int = 0  # what the launcher said on that connection, not read yet
    left: int = 0  # slots that a successor out of sight may still run

    @property
    def attempt(self) -> Attempt:
        """The newest one."""
        return self.attempts[-1]

    @property
    def over(self) -> bool:
        """Whether the move has ended."""
        return self.journal in FINAL


Step = tuple[str, World, bool]
"""What happens, what comes of it, and whether it is a fault (nothing that has to happen for things to go well)."""


SAFEGUARDS = {
    "lease_margin": "the original stays frozen for the lease and a margin",
    "lease_from_question": "a lease counts from the launcher's question, not from its answer",
    "first_grant_launches": "`go` starts nothing by itself: the first granted question does",
    "confirmed_contact": "a lease is granted only when the guard has confirmed that the original is frozen",
    "hold": "the guard is durably on HOLD before ownership is passed",
    "epoch": "the launcher refuses messages of another epoch",
    "kill_while_frozen": "the original is killed while it is frozen, then thawed",
    "files_compared": "a roll-back does not thaw the original onto files that the successor changed",
    "dead_before_thaw": "the original is thawed only when the successor is confirmed dead",
    "fence": "nothing is started again before a fence on its node has answered",
    "warden": "nothing outlives its launcher",
    "saving_first": "that a job is asked to save is written down before it is asked",
    "saved_first": "a job that is asked to save is started elsewhere only when it has ended",
    "watched": "a job that was asked to save and has not is watched until it ends, however late",
    "restored_stopped": "what was restored from an image executes nothing before the original has ended",
    "answer_to_own": "an unanswered `own` is asked until it is answered; nothing is rolled back meanwhile",
}
"""What keeps two copies from running, each of which can be taken out of the model to show that it is needed."""


class Seen:
    """Which transitions of the code's own tables were taken; any other one is an error in the model, or in a table."""

    def __init__(self) -> None:
        self.hold: set[tuple[str, str]] = set()
        self.guard: set[tuple[str, str]] = set()
        self.journal: set[tuple[str, str]] = set()

    def attempt(self, attempt: Attempt, state: str) -> Attempt:
        """The launcher enters a state. Raises ValueError for a transition that launcher.states does not have."""
        if state not in HOLD[attempt.state]:
            raise ValueError(f"hold: no transition from {attempt.state or 'the start'} to {state}")
        self.hold.add((attempt.state, state))
        return attempt._replace(state=state)

    def guarded(self, world: World, state: str) -> World:
        """The guard enters a state. Raises ValueError for a transition that launcher.states does not have."""
        if state not in GUARD[world.guard]:
            raise ValueError(f"guard: no transition from {world.guard or 'the start'} to {state}")
        self.guard.add((world.guard, state))
        return world._replace(guard=state)

    def journalled(self, world: World, state: str) -> World:
        """The move enters a state. Raises IllegalTransition for what jobs.transitions does not have."""
        check_transition("model", MoveState(world.journal), MoveState(state))
        self.journal.add((world.journal, state))
        return world._replace(journal=state, was_frozen=world.was_frozen or state == "frozen")


@dataclass(slots=True)
class Rules:
    """The protocol, whole or with one safeguard taken out."""

    without: str = ""
    attempts: int = 1
    lease: int = 2  # slots, of 5 s
    strategy: str = "restart"  # checkpoint: the original is not frozen but asked to save and end; live: it is copied
    seen: Seen = field(default_factory=Seen)

    def has(self, safeguard: str) -> bool:
        """Whether that safeguard is in place."""
        assert safeguard in SAFEGUARDS, safeguard
        return self.without != safeguard

    @property
    def contact(self) -> int:
        """Slots without contact after which the original may thaw."""
        return self.lease + self.has("lease_margin")


def first(rules: Rules | None = None) -> World:
    """A move that has just been journalled."""
    return World(attempts=(Attempt(live=rules is not None and rules.strategy == "live"),))


def executing(world: World) -> int:
    """How many copies of the job run at this instant."""
    return (world.original == "run") + sum(attempt.child and not attempt.stopped for attempt in world.attempts)


def node_up(world: World, attempt: Attempt) -> bool:
    """Whether the attempt's node runs."""
    return world.source_up if attempt.at == "source" else world.target_up


def with_attempt(world: World, number: int, attempt: Attempt) -> World:
    """The world with that attempt in the place of the one with that number."""
    attempts = world.attempts
    return world._replace(attempts=(*attempts[:number], attempt, *attempts[number + 1 :]))


def said(world: World, number: int, event: int) -> World:
    """The launcher of that attempt says something; heard only on the controller's own connection to it."""
    if world.link and number == len(world.attempts) - 1:
        return world._replace(inbox=world.inbox | event)
    return world


def sent(world: World, message: int) -> World:
    """The controller sends something to the newest attempt's launcher."""
    return with_attempt(world, len(world.attempts) - 1, world.attempt._replace(net=world.attempt.net | message))


def aged(world: World, rules: Rules) -> Iterator[Step]:
    """A slot passes, unless something has to happen in it first."""
    for attempt in world.attempts:
        if attempt.up and attempt.lease == 0 and attempt.state in LEASED:
            return
        if attempt.child and not attempt.up and rules.has("warden"):
            return
    older = world._replace(
        guard_left=max(0, world.guard_left - 1),
        left=max(0, world.left - 1),
        inbox=(world.inbox & (ASKED - 1)) | ((world.inbox & ~(ASKED - 1)) << 1) & (ASKED << rules.lease) - 1,
        attempts=tuple(_older(attempt, rules) for attempt in world.attempts),
    )
    if older != world:
        yield "5 s pass", older, False


def _older(attempt: Attempt, rules: Rules) -> Attempt:
    net = (attempt.net & (GRANT - 1)) | ((attempt.net & ~(GRANT - 1)) << 1) & (GRANT << rules.lease) - 1
    return attempt._replace(lease=max(0, attempt.lease - 1) if attempt.lease > 0 else attempt.lease, net=net)
