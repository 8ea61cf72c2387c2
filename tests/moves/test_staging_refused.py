"""What keeps a working directory from being staged is told before anything is copied, or leaves nothing behind."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
from staging_world import staged, tree

from offloader.errors import NodeUnreachable
from offloader.launcher.frames import said
from offloader.model import Reason
from offloader.moves.agent import VerbFailed
from offloader.moves.staging_pass import one_pass

pytestmark = [pytest.mark.root, pytest.mark.slow]


async def refusal(nodes, **limits):
    found = await nodes.staging(**limits).prospect(nodes.capture, **nodes.move)
    assert not nodes.there.exists() or nodes.there.is_dir()
    return [(one.reason, one.seen) for one in found.obstacles]


@pytest.mark.parametrize(
    ("limits", "seen"),
    [
        ({"max_file_bytes": 100}, "large.bin in its working directory has 4 kB; at most 100 bytes are copied"),
        ({"max_bytes": 1000}, "holds at least 4 kB; at most 1 kB are copied"),
        ({"max_files": 2}, "holds at least 3 files; at most 2 are copied"),
    ],
)
async def test_limits_are_kept_before_anything_is_copied(others, limits, seen):
    others.write("large.bin", "x" * 4000)
    others.write("small", "x")
    ((reason, told),) = await refusal(others, **limits)
    assert reason is Reason.NOT_STAGED
    assert told.endswith(seen)
    assert tree(others.root / "worker-home") == {}


async def test_what_is_excluded_counts_for_no_limit(others):
    others.write("data/large.bin", "x" * 4000)
    others.write("small", "x")
    assert await refusal(others, max_bytes=1000, max_files=10, excludes=("/data",)) == []


async def test_a_directory_of_the_same_name_with_a_content_of_its_own_is_left_alone(others):
    others.write("a", "new")
    others.write("a", "somebody's", others.there)
    ((reason, told),) = await refusal(others)
    assert reason is Reason.NO_DIRECTORY
    assert "content of its own" in told
    assert tree(others.there) == {"a": "somebody's"}


async def test_an_owner_who_may_make_no_directory_there_is_told_where(others):
    others.write("a", "new")
    (others.root / "worker-home").chmod(0o755)
    os.chown(others.root / "worker-home", 0, 0)
    assert await refusal(others) == [
        (Reason.NO_DIRECTORY, f"{others.here} is not there, and its owner may make no directory in {others.root}/home")
    ]


async def test_a_target_without_room_is_refused_and_a_reserve_is_left(others):
    others.write("a", "x" * 1_000_000)
    others.inside("mount", "-t", "tmpfs", "-o", f"size=8m,uid={others.uid}", "none", f"{others.root}/home")
    assert await refusal(others, reserve_bytes=0) == []
    ((reason, told),) = await refusal(others, reserve_bytes=8 << 20)
    assert reason is Reason.NO_ROOM
    assert "a reserve of 8 MB" in told


async def test_a_disk_that_fills_up_while_it_is_copied_fails_the_copy_and_says_so(others):
    others.write("small", "x")
    others.inside("mount", "-t", "tmpfs", "-o", f"size=2m,uid={others.uid}", "none", f"{others.root}/home")
    staging = others.staging()
    found = await staging.prospect(others.capture, **others.move)
    with others.write("grown", "").open("wb") as file:
        file.write(os.urandom(4 << 20))
    with pytest.raises(VerbFailed, match=r"NOT_STAGED.*nothing more can be written there"):
        await staging.copy(found.staged)
    await staging.withdraw(found.staged)
    others.inside("sh", "-c", f'test -z "$(ls -A {others.root}/home)"')


async def test_results_for_which_the_source_has_no_room_stay_where_they_are(others):
    others.write("in", "x")
    staging, copy = await staged(others)
    with others.write("out", "", others.there).open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(VerbFailed, match="NO_ROOM"):
        await staging.collect(copy)
    assert (others.there / "out").exists()
    assert tree(others.here) == {"in": "x"}


async def test_a_node_without_rsync_is_an_obstacle_with_a_remedy(others):
    others.write("a", "x")
    others.inside("mount", "--bind", "/dev/null", "/usr/bin/rsync")
    found = await others.staging().prospect(others.capture, **others.move)
    (obstacle,) = found.obstacles
    assert obstacle.reason is Reason.NO_EXECUTABLE
    assert obstacle.remedy == "install rsync there"


async def test_what_cannot_travel_is_told(others):
    others.write("a", "x")
    os.mkfifo(others.here / "pipe")
    (others.here / "out").symlink_to("/etc/passwd")
    (others.here / "in").symlink_to("a")
    secret = others.write("secret/key", "x").parent
    os.chown(secret, 0, 0)
    secret.chmod(0o700)
    found = await others.staging().prospect(others.capture, **others.move)
    size, left, links, unread = found.notes
    assert "(5 files, " in size
    assert left.endswith("stay behind: pipe")
    assert links.endswith("may not be there: out")
    assert "secret" in unread
    await others.staging().copy(found.staged)
    assert set(tree(others.there)) == {"a", "in", "out", "secret"}


@pytest.mark.parametrize("end", ["head", "gpu1"])
async def test_a_connection_that_is_lost_ends_both_ends_and_leaves_no_process(others, end):
    with others.write("big", "").open("wb") as file:
        file.write(os.urandom(64 << 20))
    staging = others.staging()
    found = await staging.prospect(others.capture, **others.move)
    copying = asyncio.create_task(staging.copy(found.staged))
    async with asyncio.timeout(30):
        while not (running := rsyncs(others)) or not list(others.there.glob(".big*")):
            await asyncio.sleep(0.001)
    victim = next(pid for pid, node in running.items() if node == end)
    os.kill(victim, 9)
    with pytest.raises((NodeUnreachable, VerbFailed), match=r"lost|ended|interrupted"):
        await copying
    async with asyncio.timeout(20):
        while rsyncs(others):
            await asyncio.sleep(0.01)
    await staging.withdraw(found.staged)


def rsyncs(nodes):
    """The verbs' and rsync's processes that work in the tree, with the node on which they do."""
    found = {}
    ours = Path("/proc/self/ns/mnt").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == nodes.here:
                found[int(process.name)] = "head" if (process / "ns/mnt").readlink() == ours else "gpu1"
    return found


async def test_nothing_is_ever_received_into_a_directory_that_is_not_our_copy(others):
    """A pass lets go of what the source has not: in a directory that somebody put there it would be a disaster."""
    others.write("a", "x")
    staging, copy = await staged(others)
    others.there.rename(others.there.with_name("moved"))
    others.write("precious", "x", others.there)
    with pytest.raises(VerbFailed, match="not the copy"):
        await staging.catch_up(copy)
    await staging.withdraw(copy)
    assert tree(others.there) == {"precious": "x"}


async def test_a_sender_cannot_have_anything_else_executed(others):
    others.write("a", "x")
    _, copy = await staged(others)
    channel = await others.agents["gpu1"].stream("staged", others.agents["gpu1"].staging_dir("JOB1"))
    argv = ["rsync", "--server", "--sender", "-lHogDtpre.iLsfxCIvu", ".", "/etc/"]
    await channel.send(said(copy.request(argv=argv)))
    answer = b"".join([chunk async for chunk in channel.chunks()])
    await channel.close()
    assert b"BAD_MESSAGE" in answer


async def test_a_pass_that_takes_too_long_is_given_up(others):
    with others.write("big", "").open("wb") as file:
        file.write(os.urandom(64 << 20))
    staging, copy = await staged(others)
    for _ in range(2):
        (others.here / "big").write_bytes(os.urandom(64 << 20))
        with pytest.raises(TimeoutError):
            await one_pass(
                (others.agents["head"], ()),
                (others.agents["gpu1"], (others.agents["gpu1"].staging_dir("JOB1"),)),
                copy.request(),
                at_most_s=0.2,
            )
    await staging.withdraw(copy)
    assert not others.there.exists()
