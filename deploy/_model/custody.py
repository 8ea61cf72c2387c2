"""After the move: the job is followed, and started again when its node lost it (`moves/custody.py`, `relaunch.py`)."""

from collections.abc import Iterator

from _model.links import connected, lost, verb
from _model.rollback import confirm_dead
from _model.source import adopted
from _model.world import GO, LAUNCHED, PROVEN, Attempt, Rules, World, first, node_up, sent, with_attempt

__all__ = ["care"]


def care(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """The next step for a job whose move is over."""
    match world.at:
        case "settle":
            yield from _settle(world)
        case "idle" if world.original == "run" and len(world.attempts) < rules.attempts:
            yield "the same job is to move once more", _once_more(world, rules)
        case "follow":
            yield from _follow(world, rules)
        case "watch":
            yield from _watch(world, rules)
        case "revoke" | "abort":
            yield from confirm_dead(world, rules)
        case _:
            yield from _start_again(world, rules)


def _settle(world: World) -> Iterator[tuple[str, World]]:
    """What the end of the move means for its job."""
    world = lost(world)._replace(left=0, known="absent", late="")
    if world.journal == "done":
        yield "settle: it runs there", world._replace(at="follow", record="running")
    elif world.record == "running":
        yield "settle: it owns", world._replace(at="follow")
    elif world.record == "over":
        yield "settle: it is lost", world._replace(at="over")
    elif world.record == "watched":
        yield "settle: it was asked to save, and is watched", world._replace(at="watch")
    elif world.record == "pending":
        yield "settle: it is to start again at its source", world._replace(at="pick")
    else:
        yield "settle: it goes on here", world._replace(at="idle", record="idle")


def _once_more(world: World, rules: Rules) -> World:
    return World(
        source_up=world.source_up,
        target_up=world.target_up,
        original=world.original,
        attempts=(*world.attempts, *first(rules).attempts),
    )


def _follow(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Silence is no ending: that a job has vanished is concluded from a fence on its own node alone."""
    attempt = world.attempt
    pending = world._replace(record="pending", at="pick")
    if not rules.has("fence"):
        yield "silent for long: started again", pending
    if not node_up(world, attempt):
        return
    if attempt.state == "exited":
        yield "it has ended", world._replace(record="over", at="over")
        yield "it was taken away", pending
    elif not attempt.up:
        number = len(world.attempts) - 1
        yield "fence: it has vanished", with_attempt(pending, number, attempt._replace(child=False))


def _watch(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """An original that was asked to save and has not yet: its guard is asked until it has ended."""
    if not world.source_up:
        return
    if not world.guard_up:
        yield "adopt its guard", adopted(world, rules)
    elif world.guard == "saved":
        yield "it has saved", world._replace(record="pending", at="pick")
    elif world.guard == "gone":
        yield "it has ended by itself", world._replace(record="over", at="over")


def _start_again(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """A later attempt: the same protocol, less the original."""
    number = len(world.attempts) - 1
    stopped = world._replace(at="revoke")
    match world.at:
        case "pick" if len(world.attempts) >= rules.attempts:
            yield "lost: started again too often", world._replace(at="over", record="over")
        case "pick":
            for at in ("target", "source"):
                placed = world._replace(attempts=(*world.attempts, Attempt(at)), record="placed", left=0)
                yield f"journal: starts again at the {at}", placed._replace(at="place again")
        case "place again":
            for ok, after in verb(
                world, lambda one: with_attempt(one, number, one.attempt._replace(capsule="waiting"))
            ):
                yield "place", after._replace(at="submit again" if ok else "revoke")
        case "submit again":
            queued = with_attempt(world, number, world.attempt._replace(queued=True))
            yield "submit", queued._replace(at="hello again")
            yield "submit: no answer", queued._replace(at="revoke")
        case "hello again":
            yield "out of time", stopped
            for state, after in connected(world):
                if state:
                    yield f"connect: {state}", after._replace(at="go again" if state == "held" else "revoke")
        case "go again":
            yield "send go", sent(world, GO)._replace(at="launched again", grants=True)
        case "launched again" | "prove again":
            yield "out of time", stopped
            event, then = (LAUNCHED, "prove again") if world.at == "launched again" else (PROVEN, "unknown")
            if world.inbox & event:
                yield f"heard: {then}", world._replace(at=then, inbox=world.inbox & ~event)
        case "unknown":
            yield "journal: it may own", world._replace(at="own", record="unknown")
        case "running":
            settled = lost(world)._replace(left=0)
            yield "journal: it runs", settled._replace(at="follow", record="running")
        case "not started":
            yield "journal: it did not start", world._replace(at="pick", record="pending", left=0)
