"""`keep`: who may, what it stops, how long it lasts, and that it survives a restart."""

import pytest

from offloader.daemon.api.caller import Caller
from offloader.daemon.api.control import AutoRequest, KeepRequest, MoveRequest
from offloader.daemon.keeps import KEEPS, Keeps
from offloader.errors import JournalError, NotFound, NotPermitted, Refused, UsageError
from offloader.jobs.events import EventKind
from offloader.model import Mode, MoveState, Reason

from .controller_world import ALICE, BOB, OWN, ROOT, USER, World, process, ticks, with_notice

DAY_S = 86400.0


async def test_what_is_kept_is_not_moved_by_a_rule_and_says_until_when(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    kept = await world.desk.keep(ALICE, KeepRequest(100))
    assert kept["until_t"] == world.clock.now + DAY_S
    assert list(world.mover.plans) == []
    [job] = await world.desk.scan(ALICE, (), True)
    assert job["reason"] == "KEPT"
    assert "until 2023-11-15 22:13 UTC" in job["obstacles"][0]["seen"]


async def test_keep_ends_a_notice_at_once(world: World) -> None:
    with_notice(world)
    await ticks(world, world.controller, 3)
    assert len((await world.desk.status(ALICE))["notices"]) == 1
    await world.desk.keep(ALICE, KeepRequest(100))
    assert (await world.desk.status(ALICE))["notices"] == []
    await ticks(world, world.controller, 20)
    assert list(world.mover.plans) == []


async def test_it_lasts_as_long_as_was_said_and_no_longer(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    await world.desk.keep(ALICE, KeepRequest(100, 30))
    await ticks(world, world.controller, 1, step_s=29.0)
    assert list(world.mover.plans) == []
    world.controller.look_again()
    await ticks(world, world.controller, 1, step_s=2.0)
    assert len(world.mover.plans) == 1


async def test_it_survives_a_restart(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    await world.desk.keep(ALICE, KeepRequest(100))
    again = world.make()
    await ticks(world, again, 3)
    assert list(world.mover.plans) == []
    assert [one.pid for one in again.parts.keeps.active()] == [100]


async def test_another_process_with_the_same_pid_is_not_kept(world: World) -> None:
    await world.desk.keep(ALICE, KeepRequest(100))
    later = process(100, 4.0)
    world.processes = {100: type(later)(**_changed(later, start_ticks=99))}
    [job] = await world.desk.scan(ALICE, (), True)
    assert job["movable"]
    assert await world.desk.keeps(ALICE) == []
    assert world.journal.setting(KEEPS) == []


def _changed(one, start_ticks):
    fields = {name: getattr(one, name) for name in type(one).__slots__}
    identity = one.identity
    fields["identity"] = type(identity)(identity.boot_id, identity.pid, start_ticks, identity.uid, 1, 2)
    return fields


async def test_the_whole_job_is_kept_by_any_of_its_processes(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    child = process(101, 1.0)
    world.processes[101] = type(child)(**{**_changed(child, 1010), "ppid": 100, "pgid": 100})
    kept = await world.desk.keep(ALICE, KeepRequest(101))
    assert (kept["pid"], kept["processes"]) == (100, 2)
    del world.processes[100]  # its leader ends, the rest goes on and stays kept
    await ticks(world, world.controller, 2)
    assert list(world.mover.plans) == []


@pytest.mark.parametrize("caller", [ROOT, Caller(1, OWN, OWN, frozenset())])
async def test_owner_root_and_admins_keep_and_release_nobody_else(world: World, caller: Caller) -> None:
    with pytest.raises(NotPermitted):
        await world.desk.keep(BOB, KeepRequest(100))
    kept = await world.desk.keep(caller, KeepRequest(100))
    with pytest.raises(NotPermitted):
        await world.desk.release(BOB, kept["id"])
    assert await world.desk.keeps(BOB) == []
    assert [one["id"] for one in await world.desk.keeps(ALICE)] == [kept["id"]]
    await world.desk.release(ALICE, "100")
    assert await world.desk.keeps(ROOT) == []
    with pytest.raises(NotFound):
        await world.desk.release(ALICE, "100")


async def test_released_it_may_be_moved_again(world: World) -> None:
    await world.desk.keep(ALICE, KeepRequest(100))
    await world.desk.release(ALICE, "100")
    await world.desk.auto(ROOT, AutoRequest(enabled=True))
    assert len(world.mover.plans) == 1


async def test_longer_than_allowed_is_refused_and_keeps_nothing(world: World) -> None:
    with pytest.raises(UsageError, match="30d at most"):
        await world.desk.keep(ALICE, KeepRequest(100, 31 * 86400))
    with pytest.raises(Refused):
        await world.desk.keep(ALICE, KeepRequest(999))
    assert await world.desk.keeps(ROOT) == []


async def test_nobody_fills_the_journal_with_keeps(world: World) -> None:
    world.processes = {pid: process(pid, 0.1) for pid in range(1000, 1201)}
    keeps = world.controller.parts.keeps
    for pid in range(1000, 1200):
        candidate = await world.controller.parts.observer.candidate(world.setup, pid)
        keeps.add(candidate, until_t=world.clock.now + 60, by_uid=USER)
    with pytest.raises(UsageError, match="200"):
        await world.desk.keep(ALICE, KeepRequest(1200))
    await world.desk.keep(ALICE, KeepRequest(1000))  # the same again is no more


async def test_the_owners_own_move_passes_and_says_so_that_of_root_does_not(world: World) -> None:
    await world.desk.keep(ALICE, KeepRequest(100))
    with pytest.raises(Refused) as caught:
        await world.desk.move(ROOT, MoveRequest(100))
    assert caught.value.reason is Reason.KEPT
    plan = await world.desk.move(ALICE, MoveRequest(100, dry_run=True))
    moved = await world.desk.move(ALICE, MoveRequest(100))
    assert [[one["reason"] for one in document["passes_over"]] for document in (plan, moved)] == [["KEPT"], ["KEPT"]]


async def test_an_automatic_move_in_flight_is_rolled_back(world: World) -> None:
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [move] = world.journal.moves(active=True)
    kept = await world.desk.keep(ALICE, KeepRequest(100))
    assert kept["rolled_back"] == move.id
    assert world.mover.orders == [f"withdraw {move.id} KEPT: kept by uid {USER}"]
    assert world.controller.parts.keeps.forbidden(move) == (Reason.KEPT, "its owner keeps it here")


async def test_too_late_is_said_and_nothing_is_kept(world: World) -> None:
    """The successor owns the work: the job must not be ended by a word that was meant to protect it."""
    world.switches.enable(Mode.AUTO)
    await world.controller.tick()
    [move] = world.journal.moves(active=True)
    world.mover.too_late = True
    with pytest.raises(Refused) as caught:
        await world.desk.keep(ALICE, KeepRequest(100))
    assert caught.value.reason is Reason.ALREADY_MOVING
    assert await world.desk.keeps(ROOT) == []
    assert [order.split()[0] for order in world.mover.orders] == ["withdraw"]
    assert world.journal.move(move.id).state is MoveState.PLANNED


async def test_a_persons_own_move_in_flight_is_left_alone(world: World) -> None:
    moved = await world.desk.move(ALICE, MoveRequest(100))
    kept = await world.desk.keep(ALICE, KeepRequest(100))
    assert (kept["rolled_back"], world.mover.orders) == (None, [])
    assert world.controller.parts.keeps.forbidden(world.journal.move(moved["id"])) is None


async def test_a_keep_that_could_not_be_written_down_does_not_hold(world: World, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise JournalError("disk full")

    monkeypatch.setattr(world.journal, "set_setting", full)
    with pytest.raises(JournalError):
        await world.desk.keep(ALICE, KeepRequest(100))
    assert world.controller.parts.keeps.active() == ()


async def test_it_is_an_event_without_anything_private(world: World) -> None:
    await world.desk.keep(ALICE, KeepRequest(100, 3600))
    [message] = world.messages(EventKind.OWNER)
    assert message == f"{USER} keeps train.py (pid 100) here for 1h"


def test_what_the_journal_holds_comes_back_the_same(world: World) -> None:
    stored = [{"id": "keep_1_2", "processes": ["b:2:3"], "pid": 2, "uid": 1, "user": "a", "name": "x"}]
    stored[0] |= {"created_t": 1.0, "until_t": 2e9, "by_uid": 1}
    world.journal.set_setting(KEEPS, stored)
    [keep] = Keeps(world.journal, world.clock.time).active()
    assert keep.processes == ("b:2:3",)
