"""Young processes of one user, as the respawn watch sees them: real ones."""

import os
import subprocess
from contextlib import contextmanager

import pytest

from offloader.adapters.newcomers import NewcomerSource


@contextmanager
def sleeper(tmp_path, **env):
    child = subprocess.Popen(["/bin/sleep", "60"], cwd=tmp_path, env={"PATH": "/bin", **env})
    try:
        yield child.pid
    finally:
        child.kill()
        child.wait()


async def seen(pid, uid, within_s):
    return next((one for one in await NewcomerSource()(uid, within_s) if one.pid == pid), None)


async def test_a_process_that_was_started_just_now_is_seen_with_command_and_directory(tmp_path):
    with sleeper(tmp_path) as pid:
        found = await seen(pid, os.getuid(), 30.0)
    assert (found.argv, found.cwd, found.ours) == ((b"/bin/sleep", b"60"), os.fsencode(tmp_path), False)
    assert 0 <= found.age_s < 30


async def test_what_a_move_has_started_is_known_by_its_mark(tmp_path):
    with sleeper(tmp_path, OFFLOADING_TASK_ID="J.2") as pid:
        assert (await seen(pid, os.getuid(), 30.0)).ours


@pytest.mark.parametrize(("other", "within_s"), [(1, 30.0), (0, -1.0)])
async def test_others_and_older_ones_are_not(tmp_path, other, within_s):
    with sleeper(tmp_path) as pid:
        assert await seen(pid, os.getuid() + other, within_s) is None
