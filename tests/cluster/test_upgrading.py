"""Going over to another version and back: which services restart, in which order, and what stays where one fails."""

import json
import shutil

import pytest

from offloader.cluster.lifecycle import start
from offloader.cluster.moved import InCare
from offloader.cluster.upgrading import go_over, revert

from .conftest import make_installed

pytestmark = pytest.mark.slow


def none():
    return ()


@pytest.fixture
async def running(world):
    """Everything runs; then `newer` says what is used from now on."""
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(()))
    shutil.copytree(world.env, world.root / "env2", symlinks=True)
    return world


def newer(world, *kinds):
    """As `cluster install` leaves nodes that were given another version."""
    for name in world.names:
        file = world.root / "nodes" / name / "installed.json"
        known = json.loads(file.read_text())
        for kind in kinds:
            versions = {"grid-offloader": "1.0"} if kind == "app" else {"ray": "2.61.0"}
            now = {"directory": str(world.root / "env2"), "lock": "newer", "versions": versions}
            known[kind] = {**now, "previous": known[kind], "release": "r2"}
        file.write_text(json.dumps({**known, "release": "r2"}))


def restarted(world, before):
    return sorted(
        key.removesuffix("/child")
        for key, pid in world.pids().items()
        if key.endswith("child") and before.get(key) != pid
    )


async def test_ours_goes_over_worker_by_worker_and_ray_does_not_notice(running):
    newer(running, "app")
    before, fleet = running.pids(), running.fleet()
    outcomes = await go_over(fleet, fleet.chosen(()), none)
    assert [(one.node, one.step, one.state) for one in outcomes] == [
        ("head", "controller", "stopped"),
        ("w1", "exporter", "started"),
        ("w2", "exporter", "started"),
        ("head", "exporter", "started"),
        ("head", "controller", "started"),
    ]
    assert restarted(running, before) == ["head/controller", "head/exporter", "w1/exporter", "w2/exporter"]
    again = running.fleet()
    assert await go_over(again, again.chosen(()), none) == []


async def test_ray_stays_while_moved_jobs_run_and_goes_over_everywhere_at_once_without(running):
    newer(running, "ray")
    before, fleet = running.pids(), running.fleet()
    outcomes = await go_over(fleet, fleet.chosen(()), lambda: (InCare("01J", "train.py", "w1"),))
    assert [(one.step, one.state) for one in outcomes] == [
        ("controller", "stopped"),
        ("ray", "kept"),
        ("controller", "started"),
    ]
    assert "train.py" in outcomes[1].detail
    assert restarted(running, before) == ["head/controller"]
    outcomes = await go_over(fleet, fleet.chosen(()), none)
    assert all(one.ok for one in outcomes), outcomes
    assert restarted(running, before) == ["head/controller", "head/ray", "w1/ray", "w2/ray"]


async def test_where_one_node_fails_those_after_it_stay_and_going_back_mends_it(running):
    newer(running, "app")
    (running.root / "env2/bin/grid-exporter").write_text("#!/usr/bin/python3\nimport sys\nsys.exit('it is broken')\n")
    before, fleet = running.pids(), running.fleet()
    outcomes = await go_over(fleet, fleet.chosen(()), none)
    assert [(one.node, one.step, one.state) for one in outcomes] == [
        ("head", "controller", "stopped"),
        ("w1", "exporter", "failed"),
        ("head", "controller", "started"),
    ]
    assert "it is broken" in outcomes[1].detail
    assert running.pids()["w2/exporter/child"] == before["w2/exporter/child"]

    back = await revert(fleet, fleet.chosen(()))
    assert {(one.state, one.detail) for one in back} == {("reverted", "0.9, 2.60.0")}
    outcomes = await go_over(fleet, fleet.chosen(()), none)
    assert all(one.ok for one in outcomes), outcomes
    facts = await fleet.facts(fleet.cluster.node("w1"), fresh=True)
    assert facts["installed"]["app"]["directory"] == str(running.env)
    assert facts["installed"]["app"]["previous"]["directory"] == str(running.root / "env2")


async def test_a_node_that_is_away_is_told_and_the_others_go_over(running):
    newer(running, "app")
    before, fleet = running.pids(), running.fleet(away=("w1",))
    outcomes = await go_over(fleet, fleet.chosen(()), none)
    assert [one.node for one in outcomes if not one.ok] == ["w1"]
    assert restarted(running, before) == ["head/controller", "head/exporter", "w2/exporter"]


async def test_without_a_version_before_there_is_no_way_back(running):
    fleet = running.fleet()
    outcomes = await revert(fleet, fleet.chosen(["w1"]))
    assert [(one.ok, one.detail) for one in outcomes] == [(False, "NOTHING_BEFORE: no version before this one")]
