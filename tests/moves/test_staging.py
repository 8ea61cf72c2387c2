"""Working directories follow their job to a node that does not share them, results come back: real rsync, two nodes."""

import asyncio
import os
import stat

import pytest
from staging_world import staged, tree

from offloader.errors import NodeUnreachable

pytestmark = [pytest.mark.root, pytest.mark.slow]


async def test_a_directory_is_there_as_it_is_here_and_the_copy_goes_when_results_were_collected(nodes):
    nodes.write("train.py", "print(1)").chmod(0o750)
    nodes.write("data/deep/in put.csv", "1,2\n")
    nodes.write(b"b\xff\n \\#012'$(x)\"", "odd")
    nodes.write("model/__pycache__/train.pyc", "cache")
    (nodes.here / "latest").symlink_to("data/deep")
    os.link(nodes.here / "train.py", nodes.here / "again.py")
    nodes.own(nodes.here / "latest")
    with nodes.write("sparse.bin", "").open("wb") as file:
        file.truncate(50 << 20)
    nodes.here.chmod(0o710)

    staging, copy = await staged(nodes)

    expected = tree(nodes.here)
    del expected["model/__pycache__"], expected["model/__pycache__/train.pyc"]
    assert tree(nodes.there) == expected
    script = (nodes.there / "train.py").stat()
    assert (stat.S_IMODE(script.st_mode), script.st_uid, script.st_nlink) == (0o750, nodes.uid, 2)
    assert script.st_mtime_ns == (nodes.here / "train.py").stat().st_mtime_ns
    assert (nodes.there / "sparse.bin").stat().st_blocks * 512 < 1 << 20
    assert stat.S_IMODE(nodes.there.stat().st_mode) == 0o710

    nodes.write("results/loss.csv", "0.1\n", nodes.there)
    nodes.write("data/deep/in put.csv", "3,4\n", nodes.there)
    collected = await staging.collect(copy)

    assert (nodes.here / "results/loss.csv").read_text() == "0.1\n"
    assert (nodes.here / "data/deep/in put.csv").read_text() == "3,4\n"
    assert (nodes.here / "results/loss.csv").stat().st_uid == nodes.uid
    assert (collected.landed, collected.conflicts) == (3, 0)
    assert list((nodes.root / "worker-home").iterdir()) == []
    assert list((nodes.root / "state-gpu1/staged").iterdir()) == []
    assert list((nodes.root / "state-head/staged").iterdir()) == []


async def test_what_changes_between_the_passes_is_there_in_its_last_state(others):
    """Also a file of the same size within the same second, one that is gone, and one that became a directory."""
    nodes = others
    for name in ("state", "kind", "gone", "same"):
        nodes.write(name, "before")
    staging = nodes.staging()
    found = await staging.prospect(nodes.capture, **nodes.move)
    await staging.copy(found.staged)
    unchanged = (nodes.there / "same").stat().st_ino

    nodes.write("state", "after!")
    (nodes.here / "gone").unlink()
    (nodes.here / "kind").unlink()
    nodes.write("kind/inside", "new")
    passed = await staging.catch_up(found.staged)

    assert tree(nodes.there) == {"kind": None, "kind/inside": "new", "same": "before", "state": "after!"}
    assert (nodes.there / "same").stat().st_ino == unchanged
    assert passed.files == 2


async def test_a_file_that_changed_at_the_source_is_never_overwritten(others):
    nodes = others
    for name in ("both", "mine", "theirs", "removed here", "turned"):
        nodes.write(name, "start")
    staging, copy = await staged(nodes)
    nodes.write("both", "by a person at the head")
    nodes.write("mine", "by a person at the head")
    nodes.write("made by both", "at the head")
    (nodes.here / "removed here").unlink()
    (nodes.here / "turned").unlink()
    nodes.write("turned/inside", "a directory by now")
    for name in ("both", "theirs", "made by both", "removed here", "turned"):
        nodes.write(name, "result", nodes.there)

    collected = await staging.collect(copy)

    assert tree(nodes.here) == {
        "both": "by a person at the head",
        "both.from-gpu1-1": "result",
        "made by both": "at the head",
        "made by both.from-gpu1-1": "result",
        "mine": "by a person at the head",
        "removed here": "result",
        "theirs": "result",
        "turned": None,
        "turned/inside": "a directory by now",
        "turned.from-gpu1-1": "result",
    }
    assert (collected.landed, collected.conflicts) == (2, 3)
    assert sorted(collected.beside) == ["both.from-gpu1-1", "made by both.from-gpu1-1", "turned.from-gpu1-1"]


@pytest.mark.parametrize(("carry", "left"), [(False, {"a": "1", "d": None, "d/b": "2"}), (True, {"a": "changed here"})])
async def test_deletions_come_back_only_when_asked_for_and_never_of_what_changed(others, carry, left):
    nodes = others
    nodes.write("a", "1")
    nodes.write("d/b", "2")
    staging, copy = await staged(nodes, carry_deletions=carry)
    if carry:
        nodes.write("a", "changed here")
    for path in (nodes.there / "a", nodes.there / "d/b"):
        path.unlink()
    (nodes.there / "d").rmdir()

    await staging.collect(copy)

    assert tree(nodes.here) == left


async def test_collecting_that_was_interrupted_is_repeated(others):
    """Cut off while results travel; then after they landed, before the copy was taken away."""
    nodes = others
    nodes.write("in", "x")
    staging, copy = await staged(nodes)
    for number in range(3):
        nodes.write(f"out{number}", str(number), nodes.there)
    with nodes.write("big", "", nodes.there).open("wb") as file:
        file.write(os.urandom(30 << 20))

    collecting = asyncio.create_task(staging.collect(copy))
    async with asyncio.timeout(20):
        while not list(nodes.here.glob(".grid-offload-results-*/big*")) and not collecting.done():
            await asyncio.sleep(0.001)
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    assert (nodes.there / "out0").exists()

    again = nodes.staging()
    unreachable = again.withdraw
    again.withdraw = refuse
    with pytest.raises(NodeUnreachable):
        await again.collect(copy)
    assert (nodes.here / "out2").read_text() == "2"
    again.withdraw = unreachable
    collected = await again.collect(copy)

    assert (collected.landed, collected.conflicts) == (0, 0)
    assert (nodes.here / "big").stat().st_size == 30 << 20
    assert sorted(path.name for path in nodes.here.iterdir()) == ["big", "in", "out0", "out1", "out2"]
    assert not nodes.there.exists()
    assert (await again.collect(copy)).landed == 0


async def refuse(_copy):
    raise NodeUnreachable("gpu1 is out of reach")


async def test_a_copy_that_is_interrupted_can_be_made_anew_or_taken_away(others):
    nodes = others
    nodes.write("in", "x" * 100_000)
    staging = nodes.staging()
    found = await staging.prospect(nodes.capture, **nodes.move)
    copying = asyncio.create_task(staging.copy(found.staged))
    async with asyncio.timeout(20):
        while not nodes.there.exists():
            await asyncio.sleep(0.001)
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)

    await staging.copy(found.staged)
    assert (nodes.there / "in").stat().st_size == 100_000
    await staging.withdraw(found.staged)
    await staging.withdraw(found.staged)
    assert list((nodes.root / "worker-home").iterdir()) == []
