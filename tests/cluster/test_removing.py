"""`cluster uninstall` takes away what was put there, and nothing else."""

import pytest

from offloader.cluster.lifecycle import start, stop
from offloader.cluster.removing import remove

from .conftest import make_installed

pytestmark = pytest.mark.slow


async def test_nothing_of_ours_is_left_and_what_is_not_ours_stays(world):
    make_installed(world)
    fleet = world.fleet()
    await start(fleet, fleet.chosen(()))
    await stop(fleet, fleet.chosen(()))
    made = world.root / "nodes/w1/env/app-0123456789abcdef"
    made.mkdir(parents=True)
    (made / "pyvenv.cfg").touch()
    (world.root / "nodes/w2/notes.txt").write_text("somebody's")
    outcomes = await remove(fleet, fleet.chosen(()))
    assert [(one.node, one.ok, one.changed) for one in outcomes] == [(n, True, True) for n in ("w1", "w2", "head")]
    assert sorted(str(path.relative_to(world.root)) for path in (world.root / "nodes").rglob("*")) == [
        "nodes/w2",
        "nodes/w2/notes.txt",
    ]
    assert not (world.root / "state").exists()
    assert not (world.root / "run").exists()
    assert (world.env / "bin/ray").exists()  # given, not made


async def test_a_node_that_is_away_is_told(world):
    make_installed(world)
    fleet = world.fleet(away=("w2",))
    outcomes = await remove(fleet, fleet.chosen(()))
    assert {one.node: one.state for one in outcomes} == {"w1": "removed", "w2": "unreachable", "head": "removed"}
