"""What the model's controller does in which state of its journal: for comparison with what the code does there."""

from collections.abc import Iterator
from unittest.mock import patch

from _model import controller, explore, links
from _model.world import Rules, World

__all__ = ["pairs_of_the_model"]

NOTHING = None
MESSAGES: dict[str, tuple[str, ...] | None] = {
    "place": ("place",),
    "submit": ("submit",),
    "connect": ("connect",),
    "connected": ("connect",),
    "no connection": ("connect",),
    "it has ended": ("connect",),
    "it was taken away": ("connect",),
    "it has ended, and goes on from what it saved or from its start": NOTHING,
    "arm": ("arm",),
    "freeze": ("freeze",),
    "record": ("record",),
    "hold": ("hold",),
    "unhold": ("unhold",),
    "thaw": ("thaw",),
    "end": ("end",),
    "quit": ("quit",),
    "adopt": ("adopt",),
    "there never was a guard": ("adopt",),
    "the guard is out of reach": ("adopt",),
    "send go": ("go",),
    "send own": ("own",),
    "send abort": ("abort",),
    "revoke": ("revoke",),
    "fence": ("fence",),
    "it is dead": ("fence",),
    "grant": ("grant",),
    "no grant": ("alive",),
    "it owns": NOTHING,
    "nothing to continue": NOTHING,
    "holding already": NOTHING,
    "reached": NOTHING,
    "its record says that it owns": NOTHING,
    "its lease has run out": NOTHING,
    "it was ended in an earlier try": NOTHING,
    "no answer to own": NOTHING,
    "no answer to abort": NOTHING,
    "heard": NOTHING,
    "heard of the successor's end": NOTHING,
    "out of time": NOTHING,
    "journal": NOTHING,
    "rolling back, not written down": NOTHING,
    "settle": NOTHING,
    "the same job is to move once more": NOTHING,
    "lost": NOTHING,
}
"""What a step of the model's controller sends, by the beginning of its name. Each name has to be here."""


def pairs_of_the_model(rules: Rules) -> tuple[set[tuple[str, str]], explore.Exploration]:
    """(state of the journal, message) of every step in any state that can be reached, and the exploration itself."""
    named: set[tuple[str, str]] = set()
    forward, granting = controller.forward, links.granting

    def noted_forward(world: World, rules: Rules) -> Iterator[tuple[str, World, bool]]:
        where = _context(world)
        for step in forward(world, rules):
            named.add((where, step[0].partition(":")[0]))
            yield step

    def noted_granting(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
        where = _context(world)
        for step in granting(world, rules):
            named.add((where, step[0].partition(":")[0]))
            if not world.over:
                named.add((where, "no grant"))
            yield step

    with patch.object(controller, "forward", noted_forward), patch.object(links, "granting", noted_granting):
        found = explore.explore(rules)
    return {(where, message) for where, name in named for message in _messages(name)}, found


def _context(world: World) -> str:
    return f"attempt {world.record}" if world.over else world.journal


def _messages(name: str) -> tuple[str, ...]:
    if name.startswith("stopped before "):
        return ()
    return MESSAGES[name] or ()
