"""The real controller moves a job between nodes that are the model: it does what the model's controller does, no more.

The model is looked at whole (test_protocol_model); here the code is held to it: never two copies, an end to everything,
and no message in a state of the journal in which the model would not send it.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from _model.world import Rules
from controller_simulation import Told, simulate
from model_pairs import pairs_of_the_model

from offloader.moves.failures import STOPPERS
from offloader.moves.guarding import Guard
from offloader.moves.successor import Successor

FEW, MANY = range(8), range(8, 800)

ALL_OF_THE_MODEL = {
    "planned": {"place", "revoke", "adopt"},
    "preflighted": {"revoke", "adopt"},
    "reserved": {"revoke", "adopt"},
    "queued": {"submit", "connect", "revoke", "abort", "fence", "adopt"},
    "held": {"arm", "freeze", "revoke", "connect", "abort", "fence", "adopt", "thaw"},
    "frozen": {"record", "revoke", "connect", "abort", "fence", "adopt", "thaw"},
    "saved": {"revoke", "connect", "abort", "fence", "adopt", "thaw"},
    "go": {"go", "alive", "grant", "revoke", "connect", "abort", "fence", "adopt", "thaw", "end"},
    "proven": {"alive", "grant", "revoke", "connect", "abort", "fence", "adopt", "thaw", "end"},
    "owning": {
        "alive", "grant", "hold", "own", "connect", "fence", "adopt", "unhold", "revoke", "abort", "thaw", "end",
    },
    "owned": {"adopt", "end"},
    "ended": {"quit"},
    "rolling_back": {"alive", "grant", "revoke", "connect", "abort", "fence", "adopt", "thaw", "end"},
    "attempt placed": {"place", "submit", "connect", "go", "grant", "revoke", "abort", "fence"},
    "attempt unknown": {"connect", "own", "grant", "fence"},
    "attempt running": {"connect", "fence"},
}  # fmt: skip
"""Where the journal is → what the model's controller ever says there, to the guard, the launcher, or by a verb.

In most states before `owning` there are messages of a roll-back: those are said when the disk is so full that
`rolling_back` cannot be written down.
"""

MODEL = {(where, message) for where, messages in ALL_OF_THE_MODEL.items() for message in messages}

BESIDE_THE_MODEL = {
    *(
        (where, "quit")
        for where in ALL_OF_THE_MODEL
        if not where.startswith("attempt ") and where not in ("owned", "ended")
    ),
    ("attempt running", "stop"),
    ("attempt over", "fence"),
}
"""What the code says and the model leaves out.

After a roll-back, when nothing is frozen any more, the guard is told to quit: in the model such a one may be killed.
`cancel` after *done* ends the job through its launcher: in the model it may end at any time. What was given up while
its node did not answer is fenced when it does, although by its lease it is dead: for what it has left on its disk.
"""

SELDOM = {
    *(
        ("proven", message)
        for message in ("abort", "adopt", "alive", "connect", "end", "fence", "grant", "revoke", "thaw")
    ),
    *(("owning", message) for message in ("abort", "end", "revoke", "thaw")),
    ("queued", "fence"),
    ("attempt unknown", "fence"),
}
"""What needs a full disk and two more faults within the same second, or a launcher that dies just after it has proven
itself: met by some of a thousand seeds, but which, every change of the code changes."""


@pytest.fixture(autouse=True)
def in_memory() -> Iterator[Path]:
    """The journal's disk: what fsync takes is not the point here. Nobody reads the warnings of a thousand moves."""
    memory = Path("/dev/shm")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)
    logging.disable(logging.NOTSET)


def told(seed: int, root: Path) -> Told:
    return simulate(seed, root / str(seed))


@pytest.mark.parametrize("seed", FEW)
def test_whatever_happens_there_is_one_copy_and_an_end(seed, in_memory):
    """One seed, one story: it is printed whole when it ends badly."""
    story = told(seed, in_memory)
    assert not story.wrong, str(story)
    assert story.pairs <= MODEL | BESIDE_THE_MODEL, f"{story.pairs - MODEL - BESIDE_THE_MODEL}\n{story}"


def test_a_seed_tells_the_same_story_twice(in_memory):
    """What a failure prints can be had again."""
    first, second = told(3, in_memory / "first"), told(3, in_memory / "second")
    assert first.story == second.story


@pytest.mark.slow
def test_many_seeds_go_well_and_say_all_that_the_model_says(in_memory):
    """Hundreds of stories: none ends badly, and together they have been nearly everywhere where the model has been."""
    said: set[tuple[str, str]] = set()
    for seed in MANY:
        story = told(seed, in_memory)
        assert not story.wrong, str(story)
        assert story.pairs <= MODEL | BESIDE_THE_MODEL, f"{story.pairs - MODEL - BESIDE_THE_MODEL}\n{story}"
        said |= story.pairs
    assert MODEL - said <= SELDOM, MODEL - said - SELDOM


@pytest.mark.slow
def test_the_table_is_what_the_model_says():
    """Every state of the model was looked at for it."""
    found, exploration = pairs_of_the_model(Rules(attempts=2, lease=1))
    assert not exploration.violation
    assert found == MODEL


async def _nothing(*_arguments: Any) -> None:
    pass


async def _yes(*_arguments: Any) -> bool:
    return True


def _forgotten(*_arguments: Any) -> None:
    pass


async def _unreachable_means_dead(successor: Successor) -> bool:
    try:
        return await successor._try_to_end()
    except STOPPERS:
        await successor.leave()
        return True


async def _unhold_expects_no_change(guard: Guard) -> None:
    await guard._ask("unhold", "frozen", "thawed", "gone", timeout_s=10.0)


MISTAKES = {
    "dead_by_assumption": (Successor, "confirm_dead", _yes),
    "no_time_for_a_lease_to_run_out": (Successor, "_still_running_for", _forgotten),
    "unreachable_means_dead": (Successor, "confirm_dead", _unreachable_means_dead),
    "an_answer_not_expected": (Guard, "unhold", _unhold_expects_no_change),
    "original_not_ended": (Guard, "end", _nothing),
    "no_hold": (Guard, "hold", _nothing),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_controller_is_found(mistake, in_memory):
    """The simulation would have noticed."""
    owner, name, instead = MISTAKES[mistake]
    with patch.object(owner, name, instead):
        assert any(told(seed, in_memory).wrong for seed in range(2000))
