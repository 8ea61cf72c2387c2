"""The original and its guard: `launcher/guard.py` in the model's terms, with its keeper."""

from collections.abc import Iterator

from _model.world import FROZEN, Rules, Step, World

__all__ = ["adopted", "asked", "outcomes", "steps"]

OVER = frozenset({"armed", "thawed", "saved", "ended", "gone"})


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """Everything that the guard and its keeper may do next by themselves."""
    if not world.source_up:
        return
    if world.guard_up:
        if world.original == "end" and world.guard in FROZEN | {"armed"}:
            yield "the guard sees that the original has ended", rules.seen.guarded(world, "gone"), False
        if world.guard == "saving" and world.original == "end":
            for what, after in judged(world, rules):
                yield f"the guard sees that the original {what}", after, False
        if world.guard == "frozen" and world.guard_left == 0:
            for _, after in thawed(world, rules):
                yield "the guard thaws: nobody was in contact", after, False
        if world.late:
            for answer, after in outcomes(world, world.late, rules):
                yield f"the guard hears {world.late} late ({answer})", after._replace(late=""), False
    elif world.guard not in OVER | {""}:
        yield "the keeper takes over", taken_over(world, rules), False


def adopted(world: World, rules: Rules) -> World:
    """Somebody connects, starting the guard anew if it died; what was on its way over an older connection is void."""
    return (world if world.guard_up else taken_over(world, rules))._replace(late="")


def taken_over(world: World, rules: Rules) -> World:
    """A new guard goes by the state file of the one that died."""
    world = world._replace(guard_up=True)
    if world.guard == "freezing":
        world = rules.seen.guarded(_let_run(world), "armed")
    elif world.guard == "holding" and world.original == "run":
        world = world._replace(original="ice")
    elif world.guard in FROZEN and world.original == "run":
        world = rules.seen.guarded(world, "thawed")
    if world.original == "end" and world.guard in FROZEN | {"armed"}:
        world = rules.seen.guarded(world, "gone")
    return world


def judged(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """What the end of an original means that was asked to save; where its exit code is not to be had, it has."""
    yield "has saved", rules.seen.guarded(world, "saved")._replace(saved=True)
    if not world.saved:
        yield "has ended by itself", rules.seen.guarded(world, "gone")


def asked(world: World, do: str, rules: Rules) -> Iterator[tuple[str, World]]:
    """The controller asks over its connection: each answer ("": none) and what it did; after a late one, in order."""
    if world.known == "absent" or not world.source_up:
        yield "", world._replace(known="absent")
        return
    yield "", world._replace(late=do)  # it may be heard later
    if not world.guard_up:
        return
    befores = [after for _, after in outcomes(world, world.late, rules)] if world.late else [world]
    for before in (one._replace(late="") for one in befores if one.guard_up):
        for answer, after in outcomes(before, do, rules):
            yield "", after
            if after.guard_up:
                yield answer, after


def outcomes(world: World, do: str, rules: Rules) -> Iterator[tuple[str, World]]:
    """What may become of one message, and the answer; a guard that dies in the middle gives none."""
    state = world.guard
    match do:
        case "freeze" if state == "armed":
            yield from frozen(world, rules)
        case "freeze":
            yield ("failed" if state in ("thawed", "ended") else state), world
        case "checkpoint" if state == "armed":
            if world.original == "end":
                yield "gone", rules.seen.guarded(world, "gone")
                return
            # Its answer comes when the original has ended, or when its grace is over: see `steps`.
            yield "", rules.seen.guarded(world, "saving")
            if not rules.has("saving_first"):
                yield "", world._replace(guard_up=False, asked=True)
            yield "failed", world  # it does not handle the signal, or the disk is full
        case "checkpoint":
            yield ("" if state == "saving" else state), world
        case "record":
            yield ("recorded" if state in FROZEN else "failed"), world
        case "dump":
            yield ("dumped" if state == "frozen" else "failed"), world
            yield "failed", world
        case "alive":
            yield state, world._replace(guard_left=rules.contact)
        case "hold" if state in ("frozen", "changed"):
            yield "holding", rules.seen.guarded(world, "holding")
        case "hold":
            yield ("holding" if state in ("holding", "gone", "saved") else "failed"), world
        case "unhold" if state == "holding":
            yield "frozen", rules.seen.guarded(world, "frozen")._replace(guard_left=rules.contact)
        case "unhold":
            yield state, world
        case "thaw":
            yield from thawed(world, rules)
        case "end" if state in ("armed", "thawed", "saving"):
            yield "failed", world
        case "end":
            yield from ended(world, rules)
        case "quit":
            yield "", world._replace(guard_up=state not in OVER)


def frozen(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """`freezing` is written first. It may fail, and the guard may die in the middle."""
    if world.original == "end":
        yield "gone", rules.seen.guarded(world, "gone")
        return
    freezing = rules.seen.guarded(world, "freezing")
    yield "failed", rules.seen.guarded(freezing, "armed")
    yield "", freezing._replace(guard_up=False)
    yield "", freezing._replace(guard_up=False, original="ice")
    yield "frozen", rules.seen.guarded(freezing, "frozen")._replace(original="ice", guard_left=rules.contact)


def thawed(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Unless its files changed, or ownership may have passed."""
    match world.guard:
        case "holding":
            yield "failed", world
        case "frozen" | "changed" if world.wrote and rules.has("files_compared") and rules.strategy != "live":
            yield "changed", world if world.guard == "changed" else rules.seen.guarded(world, "changed")
        case "frozen" | "changed":
            running = _let_run(world)
            yield "", running._replace(guard_up=False)
            state = "gone" if running.original == "end" else "thawed"
            yield state, rules.seen.guarded(running, state)
        case "armed":
            state = "gone" if world.original == "end" else "thawed"
            yield state, rules.seen.guarded(world, state)
        case state:
            yield state, world


def ended(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """KILL, then thaw."""
    if world.guard in FROZEN and world.original != "end":
        if rules.has("kill_while_frozen"):
            yield "", world._replace(original="doomed", guard_up=False)
        else:
            yield "", world._replace(original="run", guard_up=False)
        world = world._replace(original="end")
        yield "", world._replace(guard_up=False)
    yield "ended", world if world.guard == "ended" else rules.seen.guarded(world, "ended")


def _let_run(world: World) -> World:
    return world._replace(original={"ice": "run", "doomed": "end"}.get(world.original, world.original))
