"""Alerts hurry the rules that name them, once each; resolved, they take back what they hurried as far as that goes."""

from dataclasses import replace

import pytest

from offloader.daemon.alerts import AlertLog, Alerts
from offloader.daemon.api.alert_body import Alert, Notification
from offloader.errors import JournalError
from offloader.jobs.events import EventKind
from offloader.model import Mode, MoveState

from .controller_world import ALICE, RULE, World, ticks

T = 1_699_999_990.0
SLOW = Alert("HeadIsSlow", "f1", T, firing=True, node="head")
NO_NEWS = {"new": 0, "resolved": 0, "duplicate": 0, "unused": 0, "truncated": 0}


class Nudged:
    """A ticker that ticks when it is told to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nudges = 0

    def nudge(self) -> int:
        self.nudges += 1
        return self.nudges

    async def now(self, *, timeout_s: float = 10.0) -> bool:
        await self.world.controller.tick()
        return timeout_s > 0


class Hurried:
    """A world whose one rule waits for ten minutes unless an alert says otherwise."""

    def __init__(self, world: World) -> None:
        self.world = world
        rule = replace(RULE, for_s=600.0, cooldown_s=0.0, on_alert=("HeadIsSlow", "Other"))
        world.setup = replace(world.setup, rules=(rule,))
        world.controller.setup = world.setup
        world.switches.enable(Mode.AUTO)
        self.counted: list[str] = []
        self.wire()

    def wire(self) -> None:
        self.log = AlertLog(self.world.journal)
        self.world.controller.parts.observer._alerted = self.log.hurried
        self.ticker = Nudged(self.world)
        self.alerts = Alerts(self.world.controller, self.ticker, self.log, self.counted.append)
        self.world.controller.on_begun(self.alerts.begun)

    def receive(self, *alerts: Alert, truncated: int = 0) -> dict[str, int]:
        return self.alerts.receive(Notification(alerts, truncated))

    async def settled(self) -> None:
        """Everything that deliveries set going has been done."""
        while self.alerts._taking_back:
            await next(iter(self.alerts._taking_back))

    @property
    def moves(self) -> tuple[str, ...]:
        return tuple(move.id for move in self.world.journal.moves())

    def reach(self, *states: MoveState) -> None:
        for state in states:
            self.world.journal.transition(self.moves[0], state, t=self.world.clock.now)


@pytest.fixture
async def hurried(world: World) -> Hurried:
    one = Hurried(world)
    await ticks(world, world.controller, 3)
    assert one.moves == ()
    return one


async def test_a_new_alert_has_its_rule_evaluated_at_once_and_it_moves(world: World, hurried: Hurried) -> None:
    assert hurried.receive(SLOW) == {**NO_NEWS, "new": 1}
    assert hurried.ticker.nudges == 1
    assert hurried.moves == ()  # not the webhook moves, the tick does
    await ticks(world, world.controller, 1)
    assert len(hurried.moves) == 1
    assert any("HeadIsSlow fires: g/cpu" in words for words in world.messages(EventKind.RULE))
    assert any("an alert stands in" in words for words in world.messages(EventKind.RULE))


async def test_three_deliveries_are_one_and_nudge_once(world: World, hurried: Hurried) -> None:
    answers = [hurried.receive(SLOW) for _ in range(3)]
    assert [(one["new"], one["duplicate"]) for one in answers] == [(1, 0), (0, 1), (0, 1)]
    await ticks(world, world.controller, 3)
    assert (hurried.ticker.nudges, len(hurried.moves)) == (1, 1)
    assert hurried.counted == ["new", "duplicate", "duplicate"]


async def test_a_restart_forgets_no_delivery(world: World, hurried: Hurried) -> None:
    hurried.receive(SLOW)
    hurried.wire()
    assert hurried.receive(SLOW)["duplicate"] == 1
    await ticks(world, world.controller, 1)
    assert len(hurried.moves) == 1


async def test_what_prometheus_does_not_confirm_moves_nothing(world: World, hurried: Hurried) -> None:
    world.pressure = 0.5
    hurried.receive(SLOW)
    await ticks(world, world.controller, 3)
    assert hurried.moves == ()


@pytest.mark.parametrize(
    "alert",
    [
        replace(SLOW, name="Unrelated"),
        replace(SLOW, name="g/cpu"),
        replace(SLOW, node="gpu1"),
    ],
)
async def test_an_alert_that_no_rule_names_or_of_another_node_is_nothing(world: World, hurried: Hurried, alert) -> None:
    assert hurried.receive(alert) == {**NO_NEWS, "unused": 1}
    await ticks(world, world.controller, 2)
    assert (hurried.ticker.nudges, hurried.moves, hurried.log._known) == (0, (), {})


async def test_once_its_time_is_over_the_rule_goes_on_in_its_own_right(world: World, hurried: Hurried) -> None:
    """Without falling back to pending in between: that would withdraw a notice."""
    hurried.receive(SLOW)
    await ticks(world, world.controller, 150)
    assert not any("firing -> pending" in words for words in world.messages(EventKind.RULE))
    assert not hurried.alerts._hurried("g/cpu")


async def test_it_lasts_little_longer_than_for_itself(world: World, hurried: Hurried) -> None:
    """A *resolved* that is lost costs nothing."""
    world.pressure = 0.5
    hurried.receive(SLOW)
    world.clock.now += 660.0
    await ticks(world, world.controller, 1)
    world.pressure = 0.95
    await ticks(world, world.controller, 2)
    assert hurried.moves == ()


async def test_the_same_alert_at_another_time_counts_anew(world: World, hurried: Hurried) -> None:
    hurried.receive(SLOW)
    hurried.receive(replace(SLOW, firing=False))
    await hurried.settled()
    assert hurried.receive(replace(SLOW, starts_t=T + 60))["new"] == 1


async def test_deliveries_in_the_wrong_order_do_not_bring_a_resolved_alert_back(world: World, hurried: Hurried) -> None:
    assert hurried.receive(replace(SLOW, firing=False))["resolved"] == 1
    assert hurried.receive(SLOW)["duplicate"] == 1
    await hurried.settled()
    await ticks(world, world.controller, 2)
    assert hurried.moves == ()


async def resolved_in(world: World, hurried: Hurried, *states: MoveState) -> list[str]:
    """Orders to the mover when the alert is resolved while its move is in the last of these states."""
    hurried.receive(SLOW)
    await ticks(world, world.controller, 1)
    hurried.reach(*states)
    hurried.receive(replace(SLOW, firing=False))
    await hurried.settled()
    return world.mover.orders


async def test_resolved_takes_back_what_it_hurried_only_while_it_is_untouched(world: World, hurried: Hurried) -> None:
    """The mover alone knows whether it is: the order says so."""
    [order] = await resolved_in(world, hurried, MoveState.PREFLIGHTED)
    assert order == (
        f"withdraw {hurried.moves[0]} CANCELLED: alert HeadIsSlow, which hurried it, is resolved if untouched"
    )
    assert any("is taken back" in words for words in world.messages(EventKind.MOVE))


async def test_what_comes_too_late_goes_on_and_nothing_else_is_told(world: World, hurried: Hurried) -> None:
    world.mover.too_late = True
    await resolved_in(world, hurried, MoveState.PREFLIGHTED, MoveState.RESERVED)
    assert not any("is taken back" in words for words in world.messages(EventKind.MOVE))


async def test_resolved_leaves_a_rule_alone_that_fires_in_its_own_right_by_now(world: World, hurried: Hurried) -> None:
    hurried.receive(SLOW)
    await ticks(world, world.controller, 125)
    assert len(hurried.moves) == 1
    hurried.receive(replace(SLOW, firing=False))
    await hurried.settled()
    assert world.mover.orders == []


async def test_resolved_leaves_moves_alone_that_no_alert_hurried(world: World, hurried: Hurried) -> None:
    await ticks(world, world.controller, 125)
    assert len(hurried.moves) == 1
    world.pressure = 0.1
    hurried.receive(SLOW)
    hurried.receive(replace(SLOW, firing=False))
    await hurried.settled()
    assert world.mover.orders == []


async def test_resolved_leaves_moves_alone_that_somebody_agreed_to(world: World, hurried: Hurried) -> None:
    world.switches.enable(Mode.APPROVE)
    hurried.receive(SLOW)
    await ticks(world, world.controller, 1)
    [asked] = await world.desk.proposals(ALICE)
    await world.desk.answer(ALICE, asked["id"], agreed=True)
    assert len(hurried.moves) == 1
    hurried.receive(replace(SLOW, firing=False))
    await hurried.settled()
    assert world.mover.orders == []


async def test_another_alert_of_the_rule_that_still_fires_keeps_it_going(world: World, hurried: Hurried) -> None:
    hurried.receive(replace(SLOW, name="Other", fingerprint="f2"))
    assert await resolved_in(world, hurried) == []


async def test_a_second_resolved_takes_back_nothing_more(world: World, hurried: Hurried) -> None:
    await resolved_in(world, hurried)
    assert hurried.receive(replace(SLOW, firing=False))["duplicate"] == 1
    await hurried.settled()
    assert len(world.mover.orders) == 1


async def test_a_journal_that_cannot_be_written_takes_nothing(world: World, hurried: Hurried, monkeypatch) -> None:
    def full(*_):
        raise JournalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(world.journal, "set_setting", full)
        with pytest.raises(JournalError):
            hurried.receive(SLOW)
    assert hurried.ticker.nudges == 0
    assert hurried.receive(SLOW)["new"] == 1


async def test_what_is_remembered_is_bounded(world: World, hurried: Hurried) -> None:
    for number in range(11):
        hurried.receive(*(replace(SLOW, fingerprint=f"{number}-{index}") for index in range(100)))
    assert len(hurried.log._known) == 1000
    world.clock.now += 8 * 86400.0
    hurried.receive(SLOW)
    assert len(hurried.log._known) == 1
