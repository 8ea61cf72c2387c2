"""The controller's side: `moves/handoff.py`, and what `moves/rollback.py` and `moves/custody.py` go on with.

`World.at` says what it is about to do. Every step may also fail; where the code gives up, so does the model.
"""

from collections.abc import Iterator

from _model.custody import care
from _model.links import answered, connected, lost, verb
from _model.rollback import roll_back
from _model.source import adopted, asked
from _model.world import (
    ABORTED,
    CONT,
    EXITED,
    FAILED,
    GO,
    LAUNCHED,
    OWN,
    OWNED,
    PROVEN,
    RUNS,
    Rules,
    Step,
    World,
    sent,
    with_attempt,
)

__all__ = ["BEFORE_OWNING", "forward", "resumed"]

BEFORE_OWNING = (
    "place", "preflighted", "reserved", "queued", "submit", "hello", "held", "arm", "freeze", "frozen", "record",
    "dump", "ask to save", "saving", "saved", "go", "send_go", "launched", "prove", "proven", "owning",
)  # fmt: skip
JOURNALLED = {
    "preflighted": "reserved",
    "reserved": "queued",
    "queued": "submit",
    "held": "arm",
    "frozen": "record",
    "saved": "go",
    "go": "send_go",
    "proven": "owning",
    "owning": "hold",
}
"""Steps that only write the state of their own name down, and what comes next."""
SURELY = {"owned": "end", "ended": "continue", "done": "settle"}
"""Past ownership a journal that fails delays; it undoes nothing."""
HELD = ("holding", "gone", "saved")
"""Of a guard that was reached anew: the original will not run unless somebody lifts HOLD."""


def forward(world: World, rules: Rules) -> Iterator[Step]:
    """The next step of a move that has met no trouble, and every way in which it may meet some."""
    if world.at in BEFORE_OWNING:
        yield f"stopped before {world.at}: cancelled, out of time, or a full disk", world._replace(at="back"), False
    if world.at in JOURNALLED:
        yield f"journal: {world.at}", rules.seen.journalled(world, world.at)._replace(at=_after(world.at, rules)), False
    elif world.at in SURELY:
        yield f"journal: {world.at}", rules.seen.journalled(world, world.at)._replace(at=SURELY[world.at]), False
    else:
        for what, after in _step(world, rules):
            yield what, after, False


def _after(state: str, rules: Rules) -> str:
    return "dump" if state == "frozen" and rules.strategy == "live" else JOURNALLED[state]


def resumed(world: World, rules: Rules) -> World:
    """The controller starts again: a successor may run for as long as one that got its last grant just now."""
    world = world._replace(known="absent", link=False, grants=False, inbox=0, left=rules.contact)
    if world.over:
        at = {
            "": "settle", "running": "follow", "watched": "watch", "pending": "pick", "placed": "revoke",
            "unknown": "own",
        }  # fmt: skip
        return world._replace(at=at.get(world.record, world.record))
    past = {"owning": "hold" if rules.has("hold") else "own", "owned": "end", "ended": "continue"}
    return world._replace(at=past.get(world.journal, "back"))


def _step(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    match world.at:
        case "place":
            for ok, after in verb(world, _placed):
                yield "place", after._replace(at="preflighted" if ok else "back")
        case "submit":
            attempt = world.attempt._replace(queued=True)
            yield "submit", with_attempt(world, len(world.attempts) - 1, attempt)._replace(at="hello")
        case "hello":
            for state, after in connected(world):
                yield f"connect: {state}", after._replace(at="held" if state == "held" else "back")
        case "arm":
            yield from _arm(world, rules)
        case "freeze":
            for answer, after in asked(world, "freeze", rules):
                yield f"freeze: {answer or 'no answer'}", after._replace(at="frozen" if answer == "frozen" else "back")
        case "ask to save":
            for answer, after in asked(world, "checkpoint", rules):
                then = "back" if answer else "saving"
                yield f"checkpoint: {answer or 'asked'}", after._replace(at=then)
        case "saving":
            yield from _saving(world, rules)
        case "record":
            for answer, after in asked(world, "record", rules):
                yield f"record: {answer or 'no answer'}", after._replace(at="saved" if answer == "recorded" else "back")
        case "dump":
            for answer, after in asked(world, "dump", rules):
                yield f"dump: {answer or 'no answer'}", after._replace(at="saved" if answer == "dumped" else "back")
        case "send_go":
            yield "send go", sent(world, GO)._replace(at="launched", grants=world.link)
        case "launched":
            yield from _expect(world, LAUNCHED, "prove")
        case "prove":
            yield from _expect(world, PROVEN, "proven")
        case "hold" | "hold again" | "own" | "asked to own" | "unhold" | "end":
            yield from _past_ownership(world, rules)
        case "continue" if world.attempt.live:
            yield from _continue(world, rules)
        case "asked to continue":
            if world.inbox & (RUNS | EXITED):
                yield "heard: it runs", world._replace(at="quit", inbox=0)
            yield "no answer to cont", lost(world)._replace(at="continue")
        case "continue":
            yield "nothing to continue", world._replace(at="quit")
        case "quit":
            for _, after in asked(world, "quit", rules):
                yield "quit", after._replace(at="done", late="")
            yield "quit", world._replace(at="done")
        case _:
            yield from care(world, rules) if world.over else roll_back(world, rules)


def _placed(world: World) -> World:
    attempt = world.attempt
    if attempt.capsule:
        return world  # EXISTS: it was revoked meanwhile
    return with_attempt(world, len(world.attempts) - 1, attempt._replace(capsule="waiting"))


def _arm(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    if world.original == "end":
        yield "arm: the original is gone", world._replace(at="back")
        return
    if world.guard == "":
        armed = rules.seen.guarded(world, "armed")._replace(guard_up=True)
        yield "arm: no answer", armed._replace(at="back")
        then = "ask to save" if rules.strategy == "checkpoint" else "freeze"
        yield "arm", armed._replace(at=then, known="linked")


def _saving(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """The guard says what became of the original, or its grace is over; it may save and end later all the same."""
    if world.source_up and world.guard_up and world.guard in ("saved", "gone"):
        yield f"heard: {world.guard}", world._replace(at="saved" if world.guard == "saved" else "back")
    yield "not saved in time", world._replace(at="back" if rules.has("saved_first") else "saved")
    yield "the guard is out of reach", world._replace(at="back", known="absent")


def _expect(world: World, event: int, then: str) -> Iterator[tuple[str, World]]:
    """What the launcher says; what it says of its end, and a lost connection, stop the move."""
    if world.inbox & event:
        yield f"heard: {then}", world._replace(at=then, inbox=world.inbox & ~event)
    if world.inbox & (ABORTED | FAILED) or not world.link:
        yield "heard of the successor's end", world._replace(at="back")


def _past_ownership(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    match world.at:
        case "hold" if not rules.has("hold"):
            yield "no hold", world._replace(at="own")
        case "hold" if world.known == "holding":
            yield "holding already", world._replace(at="own")
        case "hold" if world.known == "absent":
            yield from _adopt(world, "hold", "back", rules)
        case "hold":
            for answer, after in asked(world, "hold", rules):
                if answer == "holding":
                    yield "hold: holding", after._replace(at="own")
                else:
                    yield f"hold: {answer or 'no answer'}", after._replace(at="hold again", known="absent")
        case "hold again" if world.known == "absent":
            yield from _adopt(world, "hold again", "back", rules)
        case "hold again":
            yield f"reached: {world.known}", world._replace(at="own" if world.known in HELD else "back")
        case "own":
            yield from _own(world, rules)
        case "asked to own":
            yield from _answer_to_own(world, rules)
        case "unhold":
            yield from _again(world, "unhold", "back", rules)
        case "end":
            yield from _again(world, "end", "ended", rules)


def _own(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Ask; over a new connection whoever answers there says first what it is."""
    if world.link:
        yield "send own", sent(world, OWN)._replace(at="asked to own")
        return
    for state, after in connected(world):
        match state:
            case "owned" | "exited":
                yield "it owns", after._replace(at=_owned(world))
            case "":
                yield "no connection", after
            case _:
                yield f"connected: it is {state}", after
    for dead, after in answered(world, rules):
        yield ("it is dead" if dead else "it owns"), after._replace(at=_given_up(world) if dead else _owned(world))


def _answer_to_own(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    if world.inbox & (OWNED | EXITED):
        yield "heard: owned", world._replace(at=_owned(world), inbox=0)
    if world.inbox & (ABORTED | FAILED):
        yield "heard: it had given up", world._replace(at=_given_up(world), inbox=0)
    silent = lost(world)
    yield "no answer to own", silent._replace(at="own")
    if not rules.has("answer_to_own") and not world.over:
        yield "no answer to own: rolled back", silent._replace(at="unhold")


def _continue(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """What was restored runs from here; asked until it is answered. A launcher that has ended is custody's to find."""
    if world.link:
        yield "send cont", sent(world, CONT)._replace(at="asked to continue")
        return
    for state, after in connected(world):
        yield f"connected: {state or 'no'}", after._replace(at="quit") if state == "exited" else after
    for _, after in answered(world, rules):
        yield "its launcher has ended", after._replace(at="quit")


def _owned(world: World) -> str:
    return "running" if world.over else "owned"


def _given_up(world: World) -> str:
    return "not started" if world.over else "unhold"


def _adopt(world: World, then: str, never: str, rules: Rules) -> Iterator[tuple[str, World]]:
    """Reach the guard; there may never have been one."""
    yield "the guard is out of reach", world._replace(known="absent")
    if not world.source_up:
        return
    if world.guard == "":
        yield "there never was a guard", world._replace(at=never)
        return
    after = adopted(world, rules)
    yield f"adopt: {after.guard}", after._replace(at=then, known=after.guard)


ANSWERS = {"unhold": ("frozen", "changed", "thawed", "gone", "saved"), "end": ("ended",)}


def _again(world: World, do: str, then: str, rules: Rules) -> Iterator[tuple[str, World]]:
    """Until it is answered: past ownership there is no way back, only waiting for contact."""
    if world.known == "absent":
        yield from _adopt(world, world.at, world.at, rules)
        return
    for answer, after in asked(world, do, rules):
        if answer in ANSWERS[do]:
            yield f"{do}: {answer}", after._replace(at=then)
        else:
            yield f"{do}: {answer or 'no answer'}", after._replace(known="absent")
