"""The way back: `moves/rollback.py` in the model's terms, and how anything is confirmed dead."""

from collections.abc import Iterator

from _model.links import answered, connected, lost, verb
from _model.source import adopted, asked
from _model.world import (
    ABORT,
    ABORTED,
    EXITED,
    FAILED,
    OWNED,
    Rules,
    World,
    sent,
    with_attempt,
)

__all__ = ["confirm_dead", "roll_back"]


def roll_back(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """The next step behind a move that was stopped."""
    match world.at:
        case "back":
            yield "rolling back, not written down: the disk is full", world._replace(at="revoke")
            if world.journal != "rolling_back":
                world = rules.seen.journalled(world, "rolling_back")
            yield "journal: rolling_back", world._replace(at="revoke")
        case "revoke" | "abort":
            yield from confirm_dead(world, rules)
        case "revive":
            yield from _revive(world, rules)
        case "end changed":
            for answer, after in asked(world, "end", rules):
                if answer == "ended":
                    yield "end: ended", _restart_here(after)
                else:
                    yield f"end: {answer or 'no answer'}", after._replace(at="revive", known="absent")
        case "against all odds":
            yield from _against_all_odds(world, rules)
        case "rolled_back" | "lost":
            if world.journal != "rolling_back":
                world = rules.seen.journalled(world, "rolling_back")
            yield f"journal: {world.at}", rules.seen.journalled(world, world.at)._replace(at="settle")


def confirm_dead(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    dead, owns = _found(world)
    if not rules.has("dead_before_thaw"):
        yield "taken for dead", lost(world)._replace(at=dead)
        return
    if world.left == 0:
        yield "its lease has run out", lost(world)._replace(at=dead)
    if world.at == "revoke":
        for ok, after in verb(world, _revoked):
            if ok:
                yield "revoke", after._replace(at=dead if after.attempt.capsule == "revoked" else "abort")
        return
    if world.link:
        if not world.attempt.net & ABORT:
            yield "send abort", sent(world, ABORT)
        if world.inbox & (ABORTED | FAILED):
            yield "heard: it is dead", lost(world)._replace(at=dead)
        if world.inbox & (OWNED | EXITED):
            yield "heard: it owns", world._replace(at=owns, inbox=0)
        yield "no answer to abort", lost(world)._replace(at="revoke")
        return
    for state, after in connected(world):
        yield f"connected: {state or 'no'}", after if state else after._replace(at="revoke")
    for is_dead, after in answered(world, rules):
        yield ("fence" if is_dead else "its record says that it owns"), after._replace(at=dead if is_dead else owns)


def _found(world: World) -> tuple[str, str]:
    """What follows from a successor that is dead, and from one that owns."""
    return ("not started", "unknown") if world.over else ("revive", "against all odds")


def _revoked(world: World) -> World:
    attempt = world.attempt
    if attempt.capsule == "claimed":
        return world
    return with_attempt(world, len(world.attempts) - 1, attempt._replace(capsule="revoked"))


def _revive(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """The original goes on; asked until the guard answers."""
    if world.known == "absent":
        yield "the guard is out of reach", world
        if world.source_up and world.guard == "":
            yield "there never was a guard", world._replace(at="rolled_back")
        elif world.source_up:
            after = adopted(world, rules)
            yield f"adopt: {after.guard}", after._replace(known=after.guard)
        return
    if world.known in ("ended", "saved"):
        yield "it has ended, and goes on from what it saved or from its start", _restart_here(world)
        return
    for answer, after in asked(world, "thaw", rules):
        match answer:
            case "thawed":
                yield "thaw: thawed", after._replace(at="rolled_back")
            case "changed":
                yield "thaw: changed", after._replace(at="end changed")
            case "saving":
                yield "thaw: it runs, and may save yet", _watched(after, rules)
            case "saved":
                yield "thaw: saved", _restart_here(after)
            case "gone" if after.was_frozen:
                yield "thaw: gone", _restart_here(after)
                yield "thaw: gone, and not declared safe to run again", after._replace(at="lost", record="over")
            case "gone":
                yield "thaw: gone", after._replace(at="rolled_back")
            case _:
                yield f"thaw: {answer or 'no answer'}", after._replace(known="absent")


def _restart_here(world: World) -> World:
    """The job gets a pending attempt at its source."""
    return world._replace(at="rolled_back", record="pending")


def _watched(world: World, rules: Rules) -> World:
    """It may save and end at any later time: whoever asked it to is answerable for what follows."""
    return world._replace(at="rolled_back", record="watched" if rules.has("watched") else "")


def _against_all_odds(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """It owns although nobody passed it ownership: the original is ended, the successor followed."""
    if world.known == "absent":
        yield "the guard is out of reach", world
        if world.source_up and world.guard:
            after = adopted(world, rules)
            yield f"adopt: {after.guard}", after._replace(known=after.guard)
        elif world.source_up:
            yield "there never was a guard", world._replace(at="lost", record="running")
        return
    for answer, after in asked(world, "end", rules):
        if answer == "ended":
            yield "end: ended", after._replace(at="lost", record="running")
        else:
            yield f"end: {answer or 'no answer'}", after._replace(known="absent")
