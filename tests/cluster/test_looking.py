"""`check` and `status` over several nodes, one of which does not answer."""

import pytest

from offloader.cluster.checking import check, problems
from offloader.cluster.health import Probes, status
from offloader.cluster.lifecycle import make_token, start
from offloader.ports import Sample, VectorResult

from .conftest import Metrics, make_installed

pytestmark = pytest.mark.slow

UP = 'up{job="grid-exporter"}'
PRESSURE = 'grid:node_pressure:ratio{resource="cpu"}'


def vector(*names, value=1.0):
    return VectorResult(samples=tuple(Sample({"node": name}, value, 0.0) for name in names))


def probes(*, metrics, alive=(), controller=None):
    async def ray():
        return frozenset(alive)

    async def ready():
        return controller

    return Probes(metrics, ray, ready, ready)


async def test_a_node_that_is_away_is_a_row_and_the_others_are_looked_at(world):
    fleet = world.fleet(away=("w1",))
    rows = {one["node"]: one for one in await check(fleet, fleet.chosen(()), Metrics())}
    assert list(rows) == ["head", "w1", "w2"]
    assert (rows["w1"]["reachable"], rows["w1"]["ok"]) == (False, False)
    assert problems(rows["w1"])[0]["check"] == "ssh"
    assert {one["check"] for one in rows["w2"]["findings"]} >= {"python", "clock", "ports", "disk", "criu", "nvidia"}
    assert problems(rows["w2"]) == []
    assert abs(fleet._facts["w2"]["skew_s"]) < 2


async def test_ports_of_our_own_running_services_are_no_problem(world):
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(()))
    metrics = Metrics(**{PRESSURE: vector(*world.names)})
    rows = await check(world.fleet(), fleet.chosen(()), metrics)
    assert [problems(row) for row in rows] == [[], [], []]
    assert [f["found"] for f in rows[0]["findings"] if f["check"] == "prometheus"] == ["fresh grid:* series arrive"]


async def test_data_that_do_not_arrive_are_a_problem_of_their_node(world):
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(()))
    rows = await check(world.fleet(), fleet.chosen(()), Metrics(**{PRESSURE: vector("head", "w1")}))
    assert [[one["check"] for one in problems(row)] for row in rows] == [[], [], ["prometheus"]]


async def test_shared_directories_are_proven_by_a_file_that_is_taken_away_again(world, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    world.write(manage={"app": str(world.env), "ray": str(world.env), "shared": [str(shared), str(tmp_path / "none")]})
    fleet = world.fleet()
    rows = await check(fleet, fleet.chosen(()), Metrics())
    found = {one["found"]: one["level"] for one in rows[1]["findings"] if one["check"] == "shared"}
    assert found == {f"{shared} is the head's": "ok", f"{tmp_path / 'none'} is not the head's": "problem"}
    assert list(shared.iterdir()) == []


async def test_status_is_green_only_where_services_do_their_work(world):
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(()))
    everything = [f"127.0.0.{number}" for number in (1, 2, 3)]
    good = probes(metrics=Metrics(**{UP: vector(*world.names)}), alive=everything)
    token = make_token(fleet.cluster)
    rows = await status(fleet, fleet.chosen(()), good, token)
    assert all(row["ok"] for row in rows), rows
    assert {one["name"] for one in rows[0]["services"]} == {"exporter", "prometheus", "ray", "controller"}
    assert not any(one["outdated"] for row in rows for one in row["services"])

    ailing = probes(metrics=Metrics(**{UP: vector("head", "w1")}), alive=everything[:2], controller="no check yet")
    rows = {row["node"]: row for row in await status(fleet, fleet.chosen(()), ailing, token)}
    bad = {name: [one["name"] for one in row["services"] if not one["ok"]] for name, row in rows.items()}
    assert bad == {"head": ["controller"], "w1": [], "w2": ["exporter", "ray"]}


async def test_status_of_what_does_not_run_or_answer(world):
    make_installed(world)
    fleet = world.fleet(away=("w2",))
    rows = {row["node"]: row for row in await status(fleet, fleet.chosen(()), probes(metrics=Metrics()), "")}
    assert (rows["w2"]["reachable"], rows["w2"]["ok"], rows["w2"]["services"]) == (False, False, [])
    assert {one["state"] for one in rows["w1"]["services"]} == {"absent"}
    assert "cluster start" in rows["w1"]["services"][0]["detail"]
