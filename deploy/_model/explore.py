"""Every state that can be reached, breadth first: what must never be, and whether each has a way out."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from _model import controller, faults, links, source, target
from _model.world import ABORT, ASKED, GO, GRANT, OWN, Attempt, Rules, Step, World, aged, executing, first

__all__ = ["Exploration", "broken", "explore", "steps"]


@dataclass(slots=True)
class Exploration:
    """What was found. `violation`: the first that must never be, and `trace` the shortest way to it."""

    states: int = 0
    steps: int = 0
    violation: str = ""
    trace: list[str] = field(default_factory=list)
    stuck: list[World] = field(default_factory=list)


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """Everything that may happen next."""
    if world.at not in ("down", "over") and world.source_up:
        yield from controller.forward(world, rules)
        for what, after in links.granting(world, rules):
            yield what, after, False
    yield from source.steps(world, rules)
    yield from target.steps(world, rules)
    yield from faults.steps(world, rules)
    yield from aged(world, rules)


def broken(world: World) -> str:
    """What must never be, if it is so in this state."""
    if executing(world) > 1:
        return "two copies execute"
    if world.original == "run" and world.wrote:
        return "the original runs on files that a successor wrote to"
    if settled(world) and executing(world) == 0 and not ended(world):
        return "it is over, and no copy is left"
    return ""


def settled(world: World) -> bool:
    """Whether the controller is done with it, or only follows the job where it runs."""
    if not (world.source_up and world.target_up) or world.at not in ("idle", "follow", "watch", "over"):
        return False
    if world.at == "watch":
        return world.original == "run"
    return world.at != "follow" or (world.attempt.up and world.attempt.state == "owned" and world.attempt.child)


def ended(world: World) -> bool:
    """Whether no copy is to be expected: the job ended, was lost after too many tries, or by its owner's hand.

    One that ended because it was asked to is not among them.
    """
    return world.at == "over" or (world.at == "idle" and world.original == "end" and not world.saved)


def well(world: World) -> bool:
    """A state to come to rest in: one copy, or the job is over, and nothing frozen."""
    return (
        settled(world)
        and not broken(world)
        and world.original in ("run", "end")
        and executing(world) == (not ended(world))
    )


def tidy(world: World, rules: Rules) -> World:
    """The same state, less what can never matter again, so that it is not looked at twice."""
    last = len(world.attempts) - 1
    world = world._replace(
        attempts=tuple(_tidy(one, number == last, rules) for number, one in enumerate(world.attempts)),
        guard_left=world.guard_left if world.guard == "frozen" else 0,
        inbox=world.inbox & ((ASKED << rules.lease) - 1 if world.grants else ASKED - 1) if world.link else 0,
        wrote=world.wrote and world.original != "end",
    )
    if world.over and world.record not in ("", "watched") and world.original == "end":
        # The move is history: its guard has nothing left to do, and the job's newest attempt is what counts.
        world = world._replace(guard="ended", guard_up=False, late="", was_frozen=False, journal="done")
        world = world._replace(saved=world.saved and world.at == "idle", asked=False)
    return world


def _tidy(attempt: Attempt, newest: bool, rules: Rules) -> Attempt:
    net, lease = attempt.net, attempt.lease
    dead = attempt.capsule == "revoked" or (attempt.capsule == "claimed" and not attempt.up)
    if not newest and not attempt.child and net < GRANT and rules.has("epoch") and rules.has("first_grant_launches"):
        # Nobody grants it anything any more, so it will never execute: whatever it does is the same as nothing.
        return Attempt(attempt.at, "revoked")
    strays = 0 if rules.has("epoch") else net & (GO | OWN | ABORT)
    if dead:
        return attempt._replace(net=strays, lease=-1)
    if lease >= 0:  # it goes already
        net = net & ~GO | strays & GO
        for age in range(rules.lease):  # a grant that would make the lease no longer
            if attempt.child and rules.lease - age <= lease and rules.has("lease_from_question"):
                net &= ~(GRANT << age)
    return attempt._replace(net=net)


def explore(rules: Rules, *, start: World | None = None) -> Exploration:
    """Look at every state that `start` (by default the beginning of a move) leads to; ends at the first violation."""
    found = Exploration()
    start = tidy(start or first(rules), rules)
    number: dict[World, int] = {start: 0}
    order: list[World] = [start]
    parents = array("l", [-1])
    before: list[array[int]] = [array("l")]
    position = 0
    while position < len(order):
        world = order[position]
        for _, raw, fault in steps(world, rules):
            found.steps += 1
            after = tidy(raw, rules)
            known = number.get(after)
            if known is None:
                known = number[after] = len(order)
                order.append(after)
                parents.append(position)
                before.append(array("l"))
                reason = broken(after)
                if reason:
                    found.violation = reason
                    found.trace = trace(order, parents, known, rules)
                    found.states = len(order)
                    return found
            if not fault:
                before[known].append(position)
        position += 1
    found.states = len(order)
    found.stuck = stuck(order, before)
    return found


def stuck(order: list[World], before: list["array[int]"]) -> list[World]:
    """States from which none is reached, without a further fault, in which all is well."""
    todo = [position for position, world in enumerate(order) if well(world)]
    out = bytearray(len(order))
    for position in todo:
        out[position] = 1
    while todo:
        for position in before[todo.pop()]:
            if not out[position]:
                out[position] = 1
                todo.append(position)
    return [world for position, world in enumerate(order) if not out[position]]


def trace(order: list[World], parents: "array[int]", last: int, rules: Rules) -> list[str]:
    """The steps that lead there."""
    way = [last]
    while parents[way[-1]] >= 0:
        way.append(parents[way[-1]])
    way.reverse()
    told = []
    for one, following in pairwise(way):
        for what, raw, _ in steps(order[one], rules):
            if tidy(raw, rules) == order[following]:
                told.append(what)
                break
    return told
