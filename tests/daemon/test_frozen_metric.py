"""`grid_offloader_frozen_seconds`: how long an original stands still, whatever its move is doing meanwhile."""

import pytest

from offloader.daemon.metrics import Metrics
from offloader.daemon.problems import Trouble
from offloader.daemon.ticker import Beat
from offloader.model import Mode, MoveState

from .controller_world import World, ticks

TO_HELD = (MoveState.PREFLIGHTED, MoveState.RESERVED, MoveState.QUEUED, MoveState.HELD)
TO_OWNING = (MoveState.FROZEN, MoveState.SAVED, MoveState.GO, MoveState.PROVEN, MoveState.OWNING)


@pytest.mark.parametrize(
    ("states", "seconds"),
    [
        ((), 0.0),
        (TO_HELD, 0.0),
        ((*TO_HELD, MoveState.FROZEN), 300.0),
        ((*TO_HELD, *TO_OWNING), 300.0),
        ((*TO_HELD, *TO_OWNING, MoveState.OWNED), 300.0),
        ((*TO_HELD, *TO_OWNING, MoveState.OWNED, MoveState.ENDED), 0.0),
        ((*TO_HELD, MoveState.FROZEN, MoveState.ROLLING_BACK), 300.0),
        ((*TO_HELD, MoveState.FROZEN, MoveState.ROLLING_BACK, MoveState.ROLLED_BACK), 0.0),
        ((*TO_HELD, MoveState.ROLLING_BACK), 0.0),
    ],
)
async def test_it_counts_from_the_freeze_until_the_original_ended_or_went_on(world: World, states, seconds) -> None:
    world.switches.enable(Mode.AUTO)
    await ticks(world, world.controller, 1)
    [move] = world.journal.moves(active=True)
    for state in states:
        world.journal.transition(move.id, state, t=world.clock.now)
    world.clock.now += 300.0
    text = Metrics(world.controller, lambda: Trouble(Beat(), None)).exposition().decode()
    assert f"grid_offloader_frozen_seconds {seconds}" in text
