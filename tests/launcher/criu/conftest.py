"""A rig for live moves on one machine: jobs that programs of the test make, frozen, dumped, restored, continued.

Every node is a directory for images and a cradle; a job counts in a witness file, so that a gap or a repetition shows.
"""

import contextlib
import dataclasses
import os
import secrets
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from offloader.launcher import freezer, proc
from offloader.launcher.criu import image
from offloader.launcher.criu.arguments import Options, Pages
from offloader.launcher.criu.cradle import Cradle
from offloader.launcher.criu.dumping import Dump, Frozen, options_for
from offloader.launcher.lease import boottime
from offloader.launcher.members import Members

CRIU = str(Path(__file__).resolve().parents[3] / ".cache/criu/criu")
LIMIT_S = 30.0


class Frost:
    """A job frozen as the guard does it."""

    def __init__(self, pids, way) -> None:
        self.freezer = freezer.candidates(f"grid-offload-{secrets.token_hex(4)}", [way])[0]
        self.members = Members.verified([proc.identity(pid) for pid in pids])
        self.freezer.freeze(self.members, boottime() + LIMIT_S, lambda: None)
        self.frozen = Frozen.of(self.freezer.memory())

    def thaw(self) -> None:
        self.freezer.thaw(self.members)

    def end(self) -> None:
        """KILL while frozen, then thaw, as the guard does."""
        self.members.include(self.freezer.pids(self.members))
        for held in self.members.alive():
            held.signal(signal.SIGKILL)
        self.thaw()
        for held in self.members.alive():
            assert held.wait(LIMIT_S)
        self.members.close()


class Rig:
    def __init__(self, root: Path, bench) -> None:
        self.root = root
        self.bench = bench
        self._closing = contextlib.ExitStack()
        self._frosts: list[Frost] = []

    def freeze(self, *pids: int, way: str = "v1") -> Frost:
        frost = Frost(pids, way)
        self._frosts.append(frost)
        return frost

    def images(self) -> Path:
        directory = self.root / f"image-{secrets.token_hex(4)}"
        image.create(directory)
        return directory

    def cradle(self, passed=(), terminal=None) -> "Node":
        name = f"JOB{secrets.token_hex(4)}.1"
        cradle = Cradle(name, self.root / "cradle.log", passed=passed, terminal=terminal)
        self._closing.callback(cradle.close)
        return Node(cradle)

    def dump(self, leader: int, frost: Frost, images: Path, options: Options | None = None, **more):
        options = options or options_for(leader)
        return Dump(CRIU, leader, frost.frozen, images, options, limit_s=LIMIT_S, **more).wait()

    def move(
        self,
        leader: int,
        *,
        way: str = "v1",
        passed=(),
        inherited=(),
        terminal=None,
        streamed=False,
        options=None,
        **more,
    ) -> "Node":
        """There: dumped, ended, restored and still stopped. With `streamed` all goes through sockets and tar."""
        node = self.cradle(passed, terminal)
        frost = self.freeze(leader, way=way)
        options = options or options_for(leader)
        source = target = self.images()
        if streamed:
            target = self.images()
            self._stream(leader, frost, source, target, options)
            dumped = self._dumped
        else:
            dumped = self.dump(leader, frost, source, options, **more)
        node.options, node.images, node.tasks = options, target, dumped["tasks"]
        frost.end()
        node.restore(inherited)
        image.remove(target)
        if streamed:
            image.remove(source)
        return node

    def _stream(self, leader, frost, source, target, options) -> None:
        near, far = socket.socketpair()
        with near, far:
            server = image.PageServer(CRIU, target, Pages(socket=far.fileno()))
            self._closing.callback(server.close)
            self._dumped = self.dump(leader, frost, source, options, pages=Pages(socket=near.fileno()))
            server.wait(LIMIT_S)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with contextlib.suppress(BaseException), os.fdopen(writing, "wb") as stream:
                image.pack(source, stream)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            image.unpack(stream, target, limit_bytes=100 << 20)
        os.waitpid(child, 0)

    def close(self) -> None:
        self._closing.close()
        for frost in self._frosts:
            frost.thaw()


class Node:
    """A cradle with somebody who listens to it."""

    def __init__(self, cradle: Cradle) -> None:
        self.cradle = cradle
        self._events: list[dict] = []
        self.options = Options()
        self.images = Path()
        self.tasks: list[dict] = []
        self.took_s = 0.0

    def next(self, limit_s: float = LIMIT_S) -> dict | None:
        deadline = time.monotonic() + limit_s
        while not self._events:
            left = deadline - time.monotonic()
            assert left > 0, "the cradle says nothing"
            if select.select([self.cradle.descriptor], [], [], left)[0]:
                events = self.cradle.receive()
                if events is None:
                    return None
                self._events += events
        return self._events.pop(0)

    def ask(self, inherited=(), limit_s: float = LIMIT_S, tasks=None) -> dict | None:
        self.cradle.send(
            do="restore",
            criu=CRIU,
            images=str(self.images),
            options=dataclasses.asdict(self.options),
            inherited=[list(one) for one in inherited],
            tasks=self.tasks if tasks is None else tasks,
            limit_s=limit_s,
        )
        return self.next(limit_s + 10)

    def restore(self, inherited=()) -> None:
        event = self.ask(inherited)
        assert event is not None
        assert event["event"] == "restored", event
        self.took_s = event["took_s"]

    def go_on(self) -> None:
        self.cradle.send(do="cont")
        assert self.next() == {"event": "continued"}

    def leader(self) -> int:
        """The restored leader's pid, as this test sees it."""
        wanted = next(task["pid"] for task in self.tasks if task["parent"] == 0)
        for stat in proc.all_stats():
            if stat.ppid == self.cradle.pid and _pid_inside(stat.pid) == wanted:
                return stat.pid
        raise AssertionError(f"no process {wanted} in the cradle")

    def ended(self) -> dict:
        event = self.next()
        assert event is not None
        assert event["event"] == "exited", event
        return event


def _pid_inside(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(proc.status(pid)["NSpid"].split()[-1])
    return 0


@pytest.fixture
def rig(bench):
    rig = Rig(bench.root, bench)
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def compiled(bench):
    """Compile a C program; returns its path."""

    def compile_it(source: str, *options: str) -> str:
        path = bench.root / f"program-{secrets.token_hex(4)}"
        subprocess.run(
            ["gcc", "-x", "c", "-O1", "-o", path, "-", *options], input=source.encode(), check=True, timeout=60
        )
        return str(path)

    return compile_it


@pytest.fixture
def witness(bench):
    return Witness(bench.root / "witness")


class Witness:
    """A file to which the job appends 1, 2, 3, …: whatever happens in between, that is how it must read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def count(self) -> int:
        return self.path.read_bytes().count(b"\n")

    def contiguous(self) -> int:
        lines = self.path.read_text().split()
        assert lines == [str(number) for number in range(1, len(lines) + 1)]
        return len(lines)
