"""What receipts add to the controller's metrics: only what is exactly known of moves that were carried out."""

import pytest
import receipts

from offloader.daemon.metrics import Metrics
from offloader.daemon.problems import Trouble
from offloader.daemon.ticker import Beat
from offloader.model import Correction, Figure, Loss, MoveState, ProcessClass, StrategyName

from .controller_world import World


@pytest.fixture
def metrics(world: World) -> Metrics:
    return Metrics(world.controller, lambda: Trouble(Beat(), None))


def samples(metrics: Metrics, name: str) -> dict[str, float]:
    """By labels as they are written."""
    lines = [line for line in metrics.exposition().decode().splitlines() if line.startswith(f"grid_offloader_{name}")]
    return {line.removeprefix(f"grid_offloader_{name}").split()[0]: float(line.split()[1]) for line in lines}


def test_work_lost_and_bytes_are_counted_by_strategy(metrics: Metrics) -> None:
    metrics.receipt(receipts.receipt(work_lost_s=Figure(605.0), strategy=StrategyName.RESTART))
    live = {"strategy": StrategyName.LIVE, "work_lost_s": Figure(1.5), "bytes_moved": Figure(2_000_000_000)}
    metrics.receipt(receipts.receipt(**live))
    assert samples(metrics, "move_work_lost_seconds_sum") == {'{strategy="live"}': 1.5, '{strategy="restart"}': 605.0}
    assert samples(metrics, "move_bytes_sum") == {'{strategy="live"}': 2e9, '{strategy="restart"}': 0.0}
    assert samples(metrics, "move_work_lost_seconds_bucket")['{le="600.0",strategy="restart"}'] == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"work_lost_s": Figure(None, "?")},
        {"work_lost_s": Figure(5.0, "a bound", at_most=True)},
        {"work_lost_s": Figure(5.0), "outcome": MoveState.ROLLED_BACK},
    ],
)
def test_what_is_not_known_is_not_counted(metrics: Metrics, changes) -> None:
    metrics.receipt(receipts.receipt(**changes))
    assert samples(metrics, "move_work_lost_seconds_count") == {}


def test_what_jobs_lose_later_is_counted_where_it_is_known(metrics: Metrics) -> None:
    for figure in (Figure(80.0, "a bound", at_most=True), Figure(None, "?")):
        metrics.lost(receipts.move(), Loss(1, "gpu1", receipts.T, figure, "start", None))
    assert samples(metrics, "later_work_lost_seconds_sum") == {'{strategy="restart"}': 80.0}


def test_standing_still_is_counted_when_the_move_is_done(metrics: Metrics) -> None:
    metrics.transition(receipts.move(downtime_s=1.5, strategy=StrategyName.CHECKPOINT), MoveState.ENDED)
    assert samples(metrics, "move_downtime_seconds_sum") == {'{strategy="checkpoint"}': 1.5}


async def test_what_estimates_are_multiplied_by_is_told_of_strategies_as_a_whole(
    world: World, metrics: Metrics
) -> None:
    world.controller.parts.observer._corrections = lambda: {
        (StrategyName.LIVE, None): Correction(1.0, 2.0, 0, 7),
        (StrategyName.LIVE, ProcessClass.BATCH): Correction(1.0, 3.0, 0, 5),
    }
    assert samples(metrics, "estimate_correction_ratio") == {}
    await world.controller.tick()
    assert samples(metrics, "estimate_correction_ratio") == {'{figure="downtime",strategy="live"}': 2.0}
