"""The world in which hand-offs are tried; see moves_world."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "terminal"))

from live_world import Counting
from moves_world import WORKERS, Witness, build
from staging_world import NOBODY, StagingWorld
from terminal_world import Talking
from terminals import Desk

from offloader.adapters.commands import LocalHost
from offloader.adapters.journal import Journal
from offloader.backends.fake import FakeBackend


def busy_with(directory):
    """Processes that have it in their command lines: launchers, and what they start."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(directory) in path.read_bytes():
                found.add(int(path.parent.name))
    return found


@pytest.fixture
async def world(tmp_path):
    """Head and worker; everything that ran is gone afterwards, also after a failure."""
    witness = Witness(tmp_path / "witness")
    journal = Journal(tmp_path / "state")
    hosts = {name: LocalHost(name) for name in WORKERS}
    backend = FakeBackend(frozenset(WORKERS), hosts)
    made = build(tmp_path, witness, journal, backend)
    yield made
    await made.mover.close()
    await backend.close()
    for child in made.children:
        child.kill()
        child.wait()
    pids = {record["pid"] for record in witness.records}
    while pids:  # a launcher may have been about to start another copy
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pids = busy_with(tmp_path)
    journal.close()
    witness.close()


@pytest.fixture
def counting(world):
    made = Counting(world)
    yield made
    made.close()


@pytest.fixture
def talking(world, tmp_path):
    folder = tmp_path / "desk"
    folder.mkdir()
    desk = Desk(folder)
    yield Talking(world, desk)
    desk.close()


@pytest.fixture(params=[0, NOBODY], ids=["own-account", "another-account"])
def nodes(request):
    world = StagingWorld(request.param)
    yield world
    world.close()


@pytest.fixture
def others():
    """For what does not depend on whose job it is: that of an ordinary account."""
    world = StagingWorld(NOBODY)
    yield world
    world.close()
