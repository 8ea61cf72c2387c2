"""A bench for real processes: starts them, runs the launcher's verbs and roles, and leaves nothing behind."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from offloader.launcher import cgroups, proc, socket_path
from offloader.launcher.pack import pack

PYTHON = "/usr/bin/python3"
DEADLINE_S = 20.0


def eventually(condition: Callable[[], object], what: str = "", limit_s: float = DEADLINE_S):
    """Wait until the condition gives something true, and return it."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {limit_s} s: {what or condition}"
        time.sleep(0.01)
    return found


class Link:
    """A controller's end of a link, as simple as possible."""

    def __init__(self, directory: Path, *, granting: bool = True) -> None:
        self._socket = socket_path.connect(directory)
        self._socket.settimeout(DEADLINE_S)
        self._buffer = b""
        self.granting = granting
        self.seen: list[dict] = []

    def send(self, **document) -> None:
        self._socket.sendall(json.dumps(document).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def next(self, timeout_s: float = DEADLINE_S) -> dict | None:
        """The next event, None at the end; lease questions are answered if `granting`."""
        while True:
            while b"\n" not in self._buffer:
                self._socket.settimeout(timeout_s)
                try:
                    data = self._socket.recv(65536)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self._buffer += data
            line, _, self._buffer = self._buffer.partition(b"\n")
            event = json.loads(line)
            self.seen.append(event)
            if event.get("event") == "lease?":
                if self.granting:
                    with contextlib.suppress(BrokenPipeError):  # closed since: the next read says so
                        self.send(do="grant", seq=event["seq"])
                continue
            return event

    def expect(self, name: str) -> dict:
        """The next event that is not a lease question must be this one."""
        event = self.next()
        assert event is not None, f"closed instead of {name}; seen: {self.seen}"
        assert event.get("event") == name, event
        return event

    def close(self) -> None:
        self._socket.close()


class Bench:
    """Everything a test starts carries the bench's token in its environment, so that the bench finds it again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token = f"LAUNCHER_BENCH={secrets.token_hex(8)}"
        self.job = f"JOB{secrets.token_hex(4)}"
        self.move = f"offload_{secrets.token_hex(4)}"
        package, digest = pack()
        self.launcher = root / f"launcher-{digest}.pyz"
        self.launcher.write_bytes(package)
        self.launcher.chmod(0o644)
        self._marks = root / "marks"
        self._marks.mkdir()
        self._marks.chmod(0o1777)
        self._links: list[Link] = []
        self._started: list[subprocess.Popen] = []

    # --- processes ---

    def environment(self, **more: str) -> dict[str, str]:
        name, value = self.token.split("=")
        return {"PATH": os.environ["PATH"], "HOME": "/", name: value, **more}

    def start(self, argv: list[bytes | str], **options) -> subprocess.Popen:
        """A process as a user might have it running, returned once it has been executed."""
        settings = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "start_new_session": True,
            "env": self.environment(),
            "cwd": self.root,
            **options,
        }
        process = subprocess.Popen(argv, **settings)
        self._started.append(process)
        return process

    def python(self, program: str, *arguments: bytes | str, **options) -> subprocess.Popen:
        """A Python program that has said it is up: it must call `up()`, which the bench defines."""
        mark = self._marks / f"up-{secrets.token_hex(4)}"
        prelude = f"def up():\n    open({str(mark)!r}, 'w').close()\n"
        process = self.start([PYTHON, "-c", prelude + program, *arguments], **options)
        eventually(lambda: mark.exists() or process.poll() is not None, "the program is up")
        assert process.poll() is None
        return process

    def sleeper(self, **options) -> subprocess.Popen:
        return self.python("import time\nup()\ntime.sleep(1000)", **options)

    def forker(self, **options) -> subprocess.Popen:
        """Forks all the time; children live a moment and write nothing."""
        return self.python(FORKING, **options)

    def mine(self) -> list[int]:
        """Everything alive that was started here, by whatever way."""
        return self.marked(self.token)

    def marked(self, entry: str) -> list[int]:
        """Everything alive with this entry in its environment."""
        token, found = entry.encode(), []
        for stat in proc.all_stats():
            with contextlib.suppress(OSError):
                if not stat.dead and token in proc.environ(stat.pid):
                    found.append(stat.pid)
        return found

    # --- the launcher ---

    def verb(self, *arguments: object, stdin: object = b"", **options) -> dict:
        """Run a verb and return its document; `rc` is added when it is not 0."""
        data = stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode()
        done = subprocess.run(
            [PYTHON, "-I", self.launcher, *map(str, arguments)],
            check=False,
            input=data,
            capture_output=True,
            cwd="/",
            env=self.environment(),
            timeout=60,
            **options,
        )
        assert done.stdout, done.stderr.decode()
        document = json.loads(done.stdout)
        return document if done.returncode == 0 else {**document, "rc": done.returncode}

    def capsule(self, pid: int, epoch: int = 1, **more) -> dict:
        captured = self.verb("capture", pid)
        assert "error" not in captured, captured
        ours = self.root.stat().st_dev
        capsule = {"version": 1, "job": self.job, "epoch": epoch, "move": self.move, "process": captured}
        return {**capsule, "shared": [[ours, ours]], **more}

    def check(self, capsule: dict, **more: object) -> dict:
        """What this node lacks for it; options of the process (`user`) beside parts of the document."""
        parts = {name: more.pop(name) for name in ("survey", "memory_bytes") if name in more}
        return self.verb("check", stdin={"capsule": capsule, **parts}, **more)

    def attempt(self, epoch: int = 1) -> Path:
        return self.root / "attempts" / f"{self.job}.{epoch}"

    def place(self, capsule: dict) -> Path:
        directory = self.attempt(capsule["epoch"])
        assert self.verb("place", directory, stdin=capsule) == {"placed": True}
        return directory

    def hold(self, directory: Path, **env: str) -> subprocess.Popen:
        """Start the target's role and wait until it listens (or has ended)."""
        role = subprocess.Popen(
            [PYTHON, "-I", self.launcher, "hold", directory],
            cwd="/",
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._started.append(role)
        eventually(lambda: (directory / "state.json").exists() or role.poll() is not None, "hold is up")
        return role

    def link(self, directory: Path, *, granting: bool = True, hello: str | None = None) -> Link:
        link = Link(directory, granting=granting)
        self._links.append(link)
        greeting = link.expect("hello")
        if hello is not None:
            assert greeting["state"] == hello
        return link

    def held(self, capsule: dict, **env: str) -> tuple[subprocess.Popen, Link, Path]:
        """Placed, claimed, linked: state held."""
        directory = self.place(capsule)
        role = self.hold(directory, **env)
        return role, self.link(directory, hello="held"), directory

    def launched(self, capsule: dict, settle_s: float = 60.0, **env: str):
        role, link, directory = self.held(capsule, **env)
        link.send(do="go", epoch=capsule["epoch"], settle_s=settle_s)
        event = link.expect("launched")
        return role, link, directory, event["pid"]

    def owned(self, capsule: dict, **env: str):
        role, link, directory, pid = self.launched(capsule, settle_s=0.0, **env)
        link.expect("proven")
        link.send(do="own", epoch=capsule["epoch"])
        link.expect("owned")
        return role, link, directory, pid

    def guard(self, pids: list[int], **config) -> tuple[Path, int]:
        """Arm a guard; returns its directory and pid."""
        directory = self.root / "moves" / self.move
        answer = self.verb("guard", directory, stdin=self.guard_config(pids, **config))
        assert "error" not in answer, answer
        return directory, answer["guard_pid"]

    def guard_config(self, pids: list[int], **config) -> dict:
        identities = [proc.identity(pid) for pid in pids]
        return {"move": self.move, "job": self.job, "epoch": 1, "identities": identities, **config}

    def roles(self, directory: Path) -> list[int]:
        """The processes of the role in that directory: of a guard's two, its keeper first."""
        found = []
        for stat in proc.all_stats():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{stat.pid}/cmdline").read_bytes().split(b"\0")
                if not stat.dead and os.fsencode(directory) in words:
                    found.append(stat.pid)
        return sorted(found, reverse=True)  # the keeper is the younger one

    # --- the end ---

    def close(self) -> None:
        """Kill everything of ours, frozen or not, and remove cgroups and files."""
        for link in self._links:
            link.close()
        for _ in range(500):
            left = self.mine()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._thaw_all()
            for process in self._started:
                process.poll()
            if not left:
                break
            time.sleep(0.01)
        for process in self._started:
            process.wait(10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        shutil.rmtree(self.root)
        assert self.mine() == []

    def cgroups(self) -> list[Path]:
        """The freezer cgroups that a guard of this bench made."""
        name = f"grid-offload-{self.move}"
        return [path for one in cgroups.find() for path in Path(one.mount).rglob(name)]

    def _thaw_all(self) -> None:
        for one in cgroups.find():
            for path in Path(one.mount).rglob(f"grid-offload-{self.move}"):
                with contextlib.suppress(OSError):
                    one.switch(path, frozen=False)
                    one.dissolve(path)


FORKING = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
up()
while True:
    if os.fork() == 0:
        time.sleep(0.3)
        os._exit(0)
    time.sleep(0.005)
"""


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A fresh directory that every user may enter, and everything started from it."""
    root = Path(tempfile.mkdtemp(prefix="launcher-test-"))
    root.chmod(0o755)
    bench = Bench(root)
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture(name="eventually")
def _eventually():
    return eventually


__all__ = ["Bench", "Link", "bench", "eventually"]
