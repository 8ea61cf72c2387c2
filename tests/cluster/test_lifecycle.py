"""Starting and stopping a cluster's services: in order, idempotent, and a node that is away is a row, not an end."""

import pytest

from offloader.cluster.lifecycle import make_token, restart, start, stop, token_file
from offloader.cluster.services import ORDER
from offloader.errors import ConfigError
from offloader.launcher import proc

from .conftest import make_installed

pytestmark = pytest.mark.slow


def told(outcomes):
    return [(one.node, one.step, one.state) for one in outcomes]


async def test_everything_starts_in_order_and_a_second_start_changes_nothing(world):
    make_installed(world)
    fleet = world.fleet()
    outcomes = await start(fleet, fleet.chosen(()))
    assert told(outcomes) == [
        *((name, "exporter", "started") for name in world.names),
        ("head", "prometheus", "started"),
        ("head", "ray", "started"),
        ("w1", "ray", "started"),
        ("w2", "ray", "started"),
        ("head", "controller", "started"),
    ]
    running = world.pids()
    again = await start(world.fleet(), fleet.chosen(()))
    assert {one.state for one in again} == {"running"}
    assert not any(one.changed or one.detail for one in again)
    assert world.pids() == running


async def test_stopping_leaves_no_process_and_a_second_stop_changes_nothing(world):
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(()))
    outcomes = await stop(fleet, fleet.chosen(()))
    assert outcomes[0].step == "controller"
    assert all(one.ok and one.changed for one in outcomes)
    assert world.pids() == {}
    assert not any(one.changed for one in await stop(fleet, fleet.chosen(())))


async def test_a_node_that_is_away_does_not_keep_the_others(world):
    make_installed(world)
    fleet = world.fleet(away=("w1",))
    outcomes = await start(fleet, fleet.chosen(()))
    assert [one for one in told(outcomes) if one[0] == "w1"] == [("w1", "exporter", "unreachable")]
    assert all(one.ok for one in outcomes if one.node != "w1")
    assert "w2/ray/child" in world.pids()
    assert all(one.ok for one in await start(world.fleet(), fleet.chosen(())))  # it is back: done to the end
    assert "w1/ray/child" in world.pids()


async def test_a_service_that_does_not_start_is_told_with_its_last_words_and_the_rest_goes_on(world):
    make_installed(world)
    (world.env / "bin/ray").write_text("import sys\nsys.exit('the disk is full')\n")
    fleet = world.fleet()
    outcomes = await start(fleet, fleet.chosen(()))
    by = {(one.node, one.step): one for one in outcomes}
    assert by["head", "ray"].state == "failed"
    assert "the disk is full" in by["head", "ray"].detail
    assert by["w1", "ray"].state == by["w2", "ray"].state == "skipped"
    assert by["w2", "exporter"].ok
    assert by["head", "controller"].ok


async def test_one_service_of_one_node_alone(world):
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(["w2"]), ("exporter",))
    assert sorted(world.pids()) == ["w2/exporter/child", "w2/exporter/keeper"]
    before = world.pids()
    await restart(fleet, fleet.chosen(["w2"]), ("exporter",))
    assert world.pids()["w2/exporter/child"] != before["w2/exporter/child"]


async def test_changed_settings_are_told_and_taken_by_a_restart(world):
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(["w1"]), ("ray",))
    world.write(ray={**fleet.cluster.ray.model_dump(by_alias=True, mode="json"), "environment": {"NEW": "1"}})
    fleet = world.fleet()
    (one,) = await start(fleet, fleet.chosen(["w1"]), ("ray",))
    assert (one.state, one.changed) == ("running", False)
    assert "cluster restart w1" in one.detail
    assert [one.detail for one in await restart(fleet, fleet.chosen(["w1"]), ("ray",))] == [""]


async def test_what_is_not_installed_says_so(world):
    fleet = world.fleet()
    outcomes = await start(fleet, fleet.chosen(()), ("exporter",))
    assert all("cluster install" in one.detail and not one.ok for one in outcomes)


def test_the_token_is_made_once_and_only_for_its_owner(world):
    cluster = world.fleet().cluster
    first = make_token(cluster)
    assert len(first) >= 32
    assert make_token(cluster) == first
    assert token_file(cluster).stat().st_mode & 0o777 == 0o600
    token_file(cluster).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        make_token(cluster)


async def test_the_webhook_is_open_to_whoever_holds_the_token_that_a_start_makes(world):
    make_installed(world)
    assert world.fleet().cluster.controller.webhook_token_file is None
    fleet = world.fleet()
    await start(fleet, fleet.chosen(["head"]), ("exporter",))
    file = world.fleet().cluster.controller.webhook_token_file
    assert file == world.root / "state/webhook.token"
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text()
    await start(fleet, fleet.chosen(["head"]), ("exporter",))
    assert file.read_text() == token
    assert token != make_token(fleet.cluster)


async def test_every_node_gets_the_token_and_ray_is_told_where_it_lies(world):
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(["head", "w1"]), ("ray",))
    token = make_token(fleet.cluster)
    for name in ("head", "w1"):
        file = world.root / "nodes" / name / "ray/token"
        assert file.read_text() == token
        assert file.stat().st_mode & 0o777 == 0o600
        pid = world.pids()[f"{name}/ray/child"]
        environ = dict(line.decode().split("=", 1) for line in proc.environ(pid))
        assert (environ["RAY_AUTH_MODE"], environ["RAY_AUTH_TOKEN_PATH"]) == ("token", str(file))
        assert token.encode() not in proc.read_bytes(f"/proc/{pid}/cmdline")


def test_the_order_names_every_service():
    assert set(ORDER) == {"exporter", "alertmanager", "prometheus", "ray", "controller"}
