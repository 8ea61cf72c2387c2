"""How the controller reaches the newest attempt's node: verbs, and its connection to the launcher."""

from collections.abc import Callable, Iterator

from _model.source import asked
from _model.world import ASKED, GRANT, Rules, World, node_up, sent, with_attempt

__all__ = ["answered", "connected", "granting", "lost", "verb"]

KEPT = frozenset({"exited", "failed", "aborted"})


def verb(world: World, does: Callable[[World], World]) -> Iterator[tuple[bool, World]]:
    """One verb: done and answered; done, the answer lost; not done. It may fail at any time, for any reason."""
    yield False, world
    if node_up(world, world.attempt):
        after = does(world)
        yield False, after
        yield True, after


def connected(world: World) -> Iterator[tuple[str, World]]:
    """Connect to the launcher: what it says first; "" without a connection. The newest connection replaces others."""
    apart = lost(world)
    yield "", apart
    attempt = world.attempt
    if node_up(world, attempt) and attempt.up and attempt.state:
        yield attempt.state, apart._replace(link=True)


def lost(world: World) -> World:
    """Drop the connection; what was said on it is not read any more."""
    return world._replace(link=False, grants=False, inbox=0)


def answered(world: World, rules: Rules) -> Iterator[tuple[bool, World]]:
    """Nothing listens: what the record says; where it does not own, a fence makes sure. Yields whether it is dead."""
    attempt = world.attempt
    if not node_up(world, attempt) or (attempt.up and attempt.state):
        return
    if attempt.state in ("owned", "exited"):
        yield False, world
        return
    number = len(world.attempts) - 1
    capsule = attempt.capsule if attempt.capsule == "claimed" else "revoked"
    after = attempt._replace(capsule=capsule, child=False)
    if after.state and after.state not in KEPT:
        after = rules.seen.attempt(after, "aborted")
    yield True, lost(with_attempt(world, number, after))


def granting(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Answer a lease question: the guard is told first, and has to confirm that the original is frozen."""
    if not world.grants:
        return
    for age in range(rules.lease):
        if not world.inbox & (ASKED << age):
            continue
        heard = world._replace(inbox=world.inbox & ~(ASKED << age))
        granted = sent(heard._replace(left=rules.contact), GRANT << age)
        if world.over:
            yield "grant", granted
            continue
        for answer, after in asked(heard, "alive", rules):
            if answer in ("", "armed", "thawed") and rules.has("confirmed_contact"):
                yield "no grant: the guard does not confirm", lost(after)
            else:
                yield "grant", sent(after._replace(left=rules.contact), GRANT << age)
