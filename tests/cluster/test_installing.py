"""Environments on nodes: made once, found again, apart for us and for Ray; and the wheel that nodes get."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from tiny_wheels import wheel

from offloader.adapters.commands import LocalHost
from offloader.cluster import installing
from offloader.cluster.installing import install, sources
from offloader.cluster.pruning import prune
from offloader.cluster.wheel import _repacked, digest_of, own_wheel
from offloader.config.shipped import shipped
from offloader.errors import ExternalError

HASHES = re.compile(r"^(\S+)==(\S+)[^\n]*((?:\\\n\s+--hash=\S+\s?)+)", re.MULTILINE)


@pytest.mark.parametrize("name", ["worker", "head", "ray"])
def test_what_nodes_get_is_what_was_tested_here(name):
    """Mended by: deploy/lock."""
    ours = {found[1]: found for found in HASHES.finditer(shipped("requirements.lock").read_text(encoding="utf-8"))}
    theirs = list(HASHES.finditer(shipped("deploy", "locks", f"{name}.txt").read_text(encoding="utf-8")))
    assert len(theirs) > 20
    for found in theirs:
        assert found[2] == ours[found[1]][2], found[1]
        assert set(found[3].split()) <= set(ours[found[1]][3].split()), found[1]


def test_workers_get_no_ray_with_our_own_packages_and_the_head_gets_its_client():
    names = {name: shipped("deploy", "locks", f"{name}.txt").read_text(encoding="utf-8") for name in ("worker", "head")}
    assert "\nray==" not in names["worker"]
    assert "\nray==" in names["head"]


@pytest.fixture
def prepared(world, tmp_path, monkeypatch):
    """The world with nothing installed, locks of two tiny packages, and their wheels."""
    world.write(manage={"environments": str(tmp_path / "envs"), "supervision": "own", "prometheus": False})
    wheels, locks = tmp_path / "wheels", tmp_path / "shipped/deploy/locks"
    locks.mkdir(parents=True)
    ray = wheel(wheels, "ray", "2.60.0")
    needed = wheel(wheels, "needed")
    for name, text in {"ray": ray, "head": needed, "worker": needed}.items():
        (locks / f"{name}.txt").write_text(text)
    monkeypatch.setattr(installing, "shipped", lambda *parts: tmp_path.joinpath("shipped", *parts))
    return wheels


def ours(tmp_path, version="0.9"):
    wheel(tmp_path / f"own-{version}", "grid_offloader", version)
    return next((tmp_path / f"own-{version}").glob("*.whl"))


@pytest.mark.slow
async def test_nodes_that_share_the_place_make_each_environment_once_and_find_it_again(world, prepared, tmp_path):
    fleet = world.fleet(away=("w2",))
    given = sources(ours(tmp_path), prepared)
    outcomes = await install(fleet, fleet.chosen(()), given)
    states = {(one.node, one.step): one.state for one in outcomes}
    assert {one.detail for one in outcomes if one.node != "w2"} == {"0.9", "2.60.0"}
    assert states["head", "install app"] == states["w1", "install ray"] == "installed"
    assert states["w2", "install app"] == "unreachable"
    assert ("w2", "install ray") not in states
    # app differs between head and workers only where their locks do: here they are alike.
    assert len(list((tmp_path / "envs").glob("app-*"))) == len(list((tmp_path / "envs").glob("ray-*"))) == 1
    again = await install(world.fleet(), fleet.chosen(["head", "w1"]), given)
    assert {one.state for one in again} == {"present"}


@pytest.mark.slow
async def test_a_new_version_of_ours_lies_beside_the_old_and_leaves_rays_environment_alone(world, prepared, tmp_path):
    fleet = world.fleet()
    await install(fleet, fleet.chosen(["w1"]), sources(ours(tmp_path), prepared))
    before = (await fleet.facts(fleet.cluster.node("w1")))["installed"]
    fleet = world.fleet()
    outcomes = await install(fleet, fleet.chosen(["w1"]), sources(ours(tmp_path, "1.0"), prepared))
    assert [(one.step, one.changed, one.detail) for one in outcomes] == [
        ("install app", True, "1.0"),
        ("install ray", False, "2.60.0"),
    ]
    after = (await fleet.facts(fleet.cluster.node("w1")))["installed"]
    assert after["ray"] == before["ray"]
    assert after["app"]["directory"] != before["app"]["directory"]
    assert after["app"]["previous"]["directory"] == before["app"]["directory"]
    assert Path(before["app"]["directory"], "bin/python").exists()


@pytest.mark.slow
async def test_of_three_versions_the_oldest_goes_unless_a_node_that_shares_the_place_may_need_it(
    world, prepared, tmp_path
):
    async def environment(version, away=()):
        fleet = world.fleet(away=away)
        nodes = fleet.chosen([name for name in world.names if name not in away])
        outcomes = await install(fleet, nodes, sources(ours(tmp_path, version), prepared))
        assert all(one.ok for one in outcomes), outcomes
        removed = [one.detail for one in await prune(fleet, nodes)]
        return Path((await fleet.facts(nodes[0]))["installed"]["app"]["directory"]), removed

    first, removed = await environment("0.8")
    assert removed == []
    second, removed = await environment("0.9")
    assert removed == []
    third, removed = await environment("1.0", away=["w2"])
    assert removed == []
    assert first.exists()
    # Now everybody's current and previous are known; w2 goes straight from the second to the third.
    _, removed = await environment("1.0")
    assert removed == [first.name]
    assert [path.exists() for path in (first, second, third)] == [False, True, True]


@pytest.mark.slow
async def test_wheels_that_a_node_does_not_see_are_sent_to_it(world, prepared, tmp_path, monkeypatch):
    fleet = world.fleet()
    real = fleet.verb

    async def verb(node, name, *arguments, **more):
        if name == "listing" and arguments == (str(prepared),):
            return {"files": {}}
        return await real(node, name, *arguments, **more)

    monkeypatch.setattr(type(fleet), "verb", lambda _self, *words, **more: verb(*words, **more))
    outcomes = await install(fleet, fleet.chosen(["w1"]), sources(ours(tmp_path), prepared))
    assert all(one.ok for one in outcomes), outcomes
    assert {path.name for path in (tmp_path / "envs/wheels/packages").iterdir()} == {p.name for p in prepared.iterdir()}


@pytest.mark.slow
async def test_what_pip_says_is_told_and_the_second_environment_is_not_tried(world, prepared, tmp_path):
    for path in prepared.glob("needed*"):
        path.unlink()
    fleet = world.fleet()
    (only,) = await install(fleet, fleet.chosen(["w1"]), sources(ours(tmp_path), prepared))
    assert (only.state, only.ok) == ("failed", False)
    assert "needed" in only.detail


def test_an_empty_directory_of_wheels_is_refused(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(ExternalError, match="holds no wheels"):
        sources(ours(tmp_path), tmp_path / "none")


@pytest.mark.slow
async def test_the_wheel_of_a_checkout_and_that_of_its_installation_hold_the_same(tmp_path):
    for name in ("built", "site", "again"):
        (tmp_path / name).mkdir()
    built = await own_wheel(tmp_path / "built", LocalHost("here"), sys.executable)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", tmp_path / "site", built], check=True, timeout=100)
    (info,) = (tmp_path / "site").glob("grid_offloader-*.dist-info")
    again = _repacked(PathDistribution(info), tmp_path / "again")
    assert content(again) == content(built)
    assert digest_of(again) == digest_of(built)
    # and pip takes it
    shutil.rmtree(tmp_path / "site")
    subprocess.run([*pip, "--target", tmp_path / "site", again], check=True, timeout=100)
    assert (tmp_path / "site/bin/grid-offloader").exists()


def content(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}
