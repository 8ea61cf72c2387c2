"""What may go wrong at any time, and what mends it."""

from collections.abc import Iterator

from _model import controller
from _model.links import lost
from _model.world import Attempt, Rules, Step, World, with_attempt

__all__ = ["steps"]


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """Crashes of everything, one at a time; starts are no faults: without them nothing would ever go on."""
    if world.source_up and world.at == "down":
        yield "the controller starts", controller.resumed(world, rules), False
    elif world.source_up and world.at != "over":
        yield "the controller is killed", _down(world), True
    if world.link:
        yield "the connection breaks", lost(world), True
    if world.source_up and world.guard_up:
        yield "guard and keeper are killed", world._replace(guard_up=False, late=""), True
    if world.source_up and world.original == "run" and (world.asked or world.guard == "saving"):
        yield "the original saves and ends", world._replace(original="end", saved=True), False
    if world.source_up and world.original == "run":
        yield "the original ends", world._replace(original="end"), True
    if world.source_up and world.original == "ice":
        yield "the original is killed while frozen", world._replace(original="end"), True
    yield from _nodes(world)
    for number, attempt in enumerate(world.attempts):
        if attempt.up:
            yield f"launcher {number + 1} is killed", with_attempt(world, number, attempt._replace(up=False)), True


def _down(world: World) -> World:
    return lost(world)._replace(at="down", known="absent", left=0)


def _nodes(world: World) -> Iterator[Step]:
    if world.target_up:
        yield "the target dies", world._replace(target_up=False, attempts=_without(world, "target")), True
    else:
        yield "the target starts", world._replace(target_up=True), False
    if world.source_up:
        dead = _down(world)._replace(source_up=False, original="end", guard_up=False, late="")
        # What a guard wrote before the last boot says nothing of now, but that the original was asked to end.
        guard = "saved" if world.guard in ("saving", "saved") else "gone" if world.guard else ""
        yield "the head dies", dead._replace(guard=guard, attempts=_without(world, "source")), True
    else:
        yield "the head starts", world._replace(source_up=True), False


def _without(world: World, at: str) -> tuple[Attempt, ...]:
    return tuple(one._replace(up=False, child=False, stopped=False) if one.at == at else one for one in world.attempts)
