"""The launcher's side: `launcher/hold.py` in the model's terms, with its warden and its backend."""

from collections.abc import Iterator

from _model.world import (
    ABORT,
    ANSWERS,
    ASKED,
    CONT,
    GO,
    GRANT,
    LEASED,
    OWN,
    RUNS,
    Attempt,
    Rules,
    Step,
    World,
    node_up,
    said,
    with_attempt,
)

__all__ = ["obey", "steps"]


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """Everything that launchers, successors and backends may do next."""
    for number, attempt in enumerate(world.attempts):
        if not node_up(world, attempt):
            continue
        name = f"launcher {number + 1}"
        if attempt.queued and attempt.capsule == "waiting":
            claimed = attempt._replace(capsule="claimed", up=True)
            yield f"{name} starts and claims its capsule", with_attempt(world, number, claimed), False
        if attempt.child and not attempt.up and rules.has("warden"):
            killed = with_attempt(world, number, attempt._replace(child=False))
            yield f"warden {number + 1} kills what its launcher left", killed, False
        if attempt.up:
            yield from _by_itself(world, number, attempt, rules)
            yield from _hears(world, number, attempt, rules)


def _by_itself(world: World, number: int, attempt: Attempt, rules: Rules) -> Iterator[Step]:
    name = f"launcher {number + 1}"
    linked = world.link and number == len(world.attempts) - 1
    if attempt.state == "":
        yield f"{name} holds", entered(world, number, attempt, "held", rules), False
        yield f"{name} finds an obstacle", entered(world, number, attempt, "failed", rules), False
    elif attempt.state in LEASED and attempt.lease == 0:
        yield f"{name}'s lease is over", entered(world, number, attempt, "aborted", rules), False
    elif attempt.state in LEASED and attempt.lease > 0 and linked and not world.inbox & ASKED:
        yield f"{name} asks for its lease", world._replace(inbox=world.inbox | ASKED), False
    elif attempt.state in LEASED and attempt.lease < 0 and not linked:
        yield f"{name} was asked for nothing for too long", entered(world, number, attempt, "aborted", rules), False
    if attempt.child:
        yield from _executes(world, number, attempt, rules)
    elif attempt.state == "owned":
        yield f"job {number + 1} ends", entered(world, number, attempt, "exited", rules), False


def _executes(world: World, number: int, attempt: Attempt, rules: Rules) -> Iterator[Step]:
    name = f"successor {number + 1}"
    match attempt.state:
        case "held":
            yield f"{name} executes", entered(world, number, attempt, "launched", rules), False
        case "launched":
            yield f"{name} has settled", entered(world, number, attempt, "proven", rules), False
            if attempt.stopped:
                return
            finished = attempt._replace(child=False)
            yield f"{name} ends well", entered(world, number, finished, "proven", rules), False
        case "owned" if not attempt.stopped:
            yield f"job {number + 1} ends", entered(world, number, attempt, "exited", rules), True
    if attempt.state in LEASED:
        yield f"{name} fails", entered(world, number, attempt, "failed", rules), True
    if not attempt.stopped and world.original != "end" and not world.wrote:
        yield f"{name} writes to a file of the original", world._replace(wrote=True), False


def _hears(world: World, number: int, attempt: Attempt, rules: Rules) -> Iterator[Step]:
    """What is on its way to it; what was sent to another attempt on its node may get here too."""
    name = f"launcher {number + 1}"
    for sender, other in enumerate(world.attempts):
        if other.at != attempt.at:
            continue
        for message, word in ((GO, "go"), (OWN, "own"), (ABORT, "abort"), (CONT, "cont")):
            if not other.net & message or (sender != number and rules.has("epoch")):
                continue
            heard = with_attempt(world, sender, other._replace(net=other.net & ~message))
            after = obey(heard, number, word, rules)
            yield f"{name} hears {word}{f' for attempt {sender + 1}' if sender != number else ''}", after, False
    for age in range(rules.lease):
        if attempt.net & (GRANT << age):
            heard = with_attempt(world, number, attempt._replace(net=attempt.net & ~(GRANT << age)))
            after = granted(heard, number, age, rules)
            yield f"{name} hears a grant to its question of {5 * age} s ago", after, False


def obey(world: World, number: int, message: str, rules: Rules) -> World:
    """What becomes of a message of the right epoch; whoever is linked hears the answer."""
    attempt = world.attempts[number]
    match message, attempt.state:
        case "go", "held" if attempt.lease < 0:
            launched = not rules.has("first_grant_launches")
            world = with_attempt(world, number, attempt._replace(lease=rules.lease, child=launched))
        case "own", "held" | "launched" | "proven" if attempt.lease == 0:
            world = entered(world, number, attempt, "aborted", rules)
        case "own", "proven":
            world = entered(world, number, attempt, "owned", rules)
        case "abort", "held" | "launched" | "proven":
            world = entered(world, number, attempt, "aborted", rules)
        case "cont", "owned":
            world = said(with_attempt(world, number, attempt._replace(stopped=False)), number, RUNS)
        case "own" | "cont", "held" | "launched" | "proven":
            pass  # refused: not proven, or not its own yet
        case _:
            world = said(world, number, ANSWERS.get(attempt.state, 0))
    return world


def granted(world: World, number: int, age: int, rules: Rules) -> World:
    """An answer to its question; the first one starts the successor, or fails to."""
    attempt = world.attempts[number]
    if attempt.lease <= 0 or attempt.state not in LEASED:
        return world
    length = rules.lease - age if rules.has("lease_from_question") else rules.lease
    launched = attempt.state == "held" and not attempt.child
    stopped = attempt.stopped or (launched and attempt.live and rules.has("restored_stopped"))
    later = attempt._replace(lease=max(attempt.lease, length), child=attempt.child or launched, stopped=stopped)
    return with_attempt(world, number, later)


def entered(world: World, number: int, attempt: Attempt, state: str, rules: Rules) -> World:
    """The launcher enters a state, and says so; one that is final has killed everything, and the launcher ends."""
    after = rules.seen.attempt(attempt, state)
    if state in ("aborted", "failed", "exited"):
        after = after._replace(up=False, child=False, stopped=False)
    if state == "owned":
        after = after._replace(lease=-1)
    return said(with_attempt(world, number, after), number, ANSWERS.get(state, 0))
