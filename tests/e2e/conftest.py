"""The test bed for end-to-end tests: one per session, whole again before every test."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from controlled import Controlled
from managed import Managed

PROJECT = Path(__file__).resolve().parent.parent.parent
PROGRAM = PROJECT / "deploy/testbed"
HEAD, WORKERS = "gpu-master", ("gpu1", "gpu2")
MISSING_REQUIREMENT = 2
LOG_LINES = 200  # of a failed test's controller: what it did in the last minutes

# A test bed of its own: one that somebody has running stays as it is.
os.environ.setdefault("GRID_TESTBED_NAME", "gte2e")
os.environ.setdefault("GRID_TESTBED_SUBNET", "10.79.0.0/24")


@dataclass(frozen=True)
class Load:
    """A sample load that runs detached on a node, as a job started with nohup would."""

    name: str
    node: str
    pid: int  # as the node numbers it
    output: Path
    argv: tuple[str, ...]


class Testbed:
    """The cluster: everything goes through the command that people use."""

    __test__ = False  # no test class

    def __init__(self) -> None:
        state = self.status()
        self.root = Path(state["directory"])
        self.shared = Path(state["shared"])
        self.ssh_config = Path(state["ssh_config"])
        self.known_hosts = Path(state["known_hosts"])
        self.prometheus: str = state["prometheus"]
        self._ips: dict[str, str] = {node["node"]: node["ip"] for node in state["nodes"]}

    @staticmethod
    def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """The first true value of `condition`; fails naming `what` after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds:g} s: {what}")
            time.sleep(0.05)
        return value

    def run(self, *arguments: str, timeout: float = 110, check: bool = True) -> str:
        """`deploy/testbed ARGUMENTS`; returns its standard output, fails with its message."""
        done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            pytest.fail(f"deploy/testbed {' '.join(arguments)}: exit {done.returncode}: {done.stderr}")
        return done.stdout

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--format", "json")))

    def node(self, name: str) -> dict[str, Any]:
        return next(node for node in self.status()["nodes"] if node["node"] == name)

    def ip(self, node: str) -> str:
        return self._ips[node]

    def private(self, node: str) -> Path:
        """The node's private directory as the machine sees it; the node sees it as `root / "private"`."""
        return self.root / "nodes" / node / "private"

    def identity(self, user: str = "root") -> Path:
        """The key with which a user logs in to every node."""
        return self.root / "home" / user / ".ssh/id_ed25519"

    def exec(
        self,
        node: str,
        argv: Sequence[str],
        *,
        user: str = "root",
        cwd: str = "/",
        timeout: float = 60,
        check: bool = True,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside a node to its end; with `check` a non-zero exit code fails the test."""
        line = [PROGRAM, "exec", node, "--user", user, "--cwd", cwd, "--", *argv]
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
        done = subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False, **given)
        if check and done.returncode:
            pytest.fail(f"{node}: {shlex.join(argv)}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def proc(self, node: str, pid: int, file: str) -> bytes:
        """`/proc/PID/FILE` of a process as its node numbers it."""
        line = [PROGRAM, "exec", node, "--", "cat", f"/proc/{pid}/{file}"]
        return subprocess.run(line, capture_output=True, check=True, timeout=60).stdout

    def popen(
        self, node: str, argv: Sequence[str], *, user: str = "root", cwd: str = "/", log: IO[str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command inside a node. End it with `end`: its process group is that of the returned process."""
        line = [PROGRAM, "exec", node, "--user", user, "--cwd", cwd, "--", *argv]
        out = subprocess.PIPE if log is None else log
        return subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True, start_new_session=True
        )

    @staticmethod
    def end(process: subprocess.Popen[str], signum: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Signal a `popen`ed command and wait for its end; returns its exit code."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(seconds)
            pytest.fail(f"{process.args!r} did not end within {seconds:g} s of signal {signum}")
        finally:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def kill(self, node: str) -> None:
        self.run("kill", node)

    def start(self, node: str) -> None:
        self.run("start", node)

    def partition(self, node: str) -> None:
        self.run("partition", node)

    def heal(self, node: str) -> None:
        self.run("heal", node)

    def ray_up(self, user: str) -> None:
        """Ray on every node, run by that account; what another one runs is ended first."""
        present = self.status()["ray"]
        if present is not None and present["user"] != user:
            self.run("ray", "down")
        self.run("ray", "up", "--user", user)

    def ray(self) -> dict[str, str]:
        """How to reach Ray: user, address, dashboard, token_file."""
        return dict(self.status()["ray"])

    def start_load(
        self,
        node: str,
        name: str,
        *,
        user: str = "alice",
        program: str = "load.py",
        environment: dict[str, str] | None = None,
        arguments: Sequence[str] = (),
        **options: object,
    ) -> Load:
        """Start a sample load and wait until it runs.

        Options are those of load.py (`cpu=0.5`, `memory=64`, `duration=30`, `ignore_term=True`, …); `program` is the
        name it goes by; `arguments` follow them and change nothing. Its output is a file in the shared directory.
        """
        script = self.root / "bin" / program
        if not script.exists():
            script.symlink_to("load.py")
        ready = self.shared / f"{name}.pid"
        flags = [
            f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}") for key, value in options.items()
        ]
        argv = ("/usr/bin/python3", str(script), f"--name={name}", f"--ready-file={ready}", *flags, "--", *arguments)
        return self.start_program(node, name, argv, user=user, environment=environment)

    def start_program(
        self,
        node: str,
        name: str,
        argv: tuple[str, ...],
        *,
        user: str = "alice",
        environment: dict[str, str] | None = None,
    ) -> Load:
        """Start any program as `start_load` does its own. It leaves its id in the shared directory, as NAME.pid."""
        ready = self.shared / f"{name}.pid"
        ready.unlink(missing_ok=True)
        output = self.shared / f"{name}.out"
        variables = [f"{key}={value}" for key, value in (environment or {}).items()]
        shell = f"exec setsid --fork {shlex.join(argv)} </dev/null >>{shlex.quote(str(output))} 2>&1"
        self.exec(node, ["env", *variables, "bash", "-c", shell], user=user, cwd=str(self.shared))
        self.wait_for(ready.exists, 20, f"{name} to run on {node}")
        return Load(name, node, int(ready.read_text(encoding="ascii")), output, argv)

    def witness_report(self, load: str, *, gap: float | None = None) -> dict[str, Any]:
        """`chain`, `overlaps`, `running` of one load; `gap`: the silence (s) that means frozen, if not the usual."""
        options = () if gap is None else ("--gap", str(gap))
        return dict(json.loads(self.run("witness", "report", "--load", load, *options)))

    def running(self, load: str) -> list[str]:
        """On which nodes copies of a load execute now, one entry per copy."""
        report = self.witness_report(load)
        return [entry["node"] for entry in report["chain"] if entry["running"]]

    def make_whole(self) -> None:
        """End every load, mend every cable, start every node."""
        for node in self.status()["nodes"]:
            if node["partitioned"]:
                self.heal(node["node"])
        self.run("end-loads")
        self.run("up")


@pytest.fixture(scope="session")
def session_testbed() -> Iterator[Testbed]:
    """The one test bed of this session; use `testbed`."""
    name = os.environ["GRID_TESTBED_NAME"]
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0grid-testbed-e2e-{name}")
        except OSError:
            pytest.fail(f"another test run uses the test bed {name}: set GRID_TESTBED_NAME and GRID_TESTBED_SUBNET")
        subprocess.run([PROGRAM, "down"], check=False, capture_output=True, timeout=60)
        done = subprocess.run([PROGRAM, "up"], check=False, capture_output=True, text=True, timeout=60)
        try:
            if done.returncode == MISSING_REQUIREMENT:
                pytest.skip(done.stderr.strip())
            if done.returncode:
                pytest.fail(done.stderr)
            yield Testbed()
        finally:
            subprocess.run([PROGRAM, "down"], check=True, capture_output=True, timeout=180)


@pytest.fixture
def testbed(session_testbed: Testbed) -> Iterator[Testbed]:
    """Three nodes and the witness, all up; loads started by the test end with it."""
    session_testbed.make_whole()
    yield session_testbed
    session_testbed.make_whole()


@pytest.fixture
def ray_testbed(testbed: Testbed) -> Testbed:
    """`testbed` with Ray on every node (run by alice, token in `ray()["token_file"]`)."""
    testbed.ray_up("alice")
    return testbed


@pytest.fixture
def monitored_testbed(testbed: Testbed) -> Testbed:
    """`testbed` with an exporter on every node and Prometheus on the head (`prometheus` is its address)."""
    testbed.run("monitoring", "up")
    return testbed


@pytest.fixture
def controlled(ray_testbed: Testbed, monitored_testbed: Testbed) -> Iterator[Controlled]:
    """The test bed with everything; the test starts the controller as it needs it, and it ends with the test."""
    made = Controlled(monitored_testbed)
    made.stop()
    yield made
    made.stop()


@pytest.fixture
def rooted(testbed: Testbed) -> Iterator[Controlled]:
    """The test bed with everything, all of it root's: only root may take a process apart."""
    testbed.ray_up("root")
    testbed.run("monitoring", "up")
    made = Controlled(testbed)
    made.stop()
    yield made
    made.stop()


@pytest.fixture
def ready(rooted: Controlled) -> Controlled:
    """`rooted` with a controller that moves what it is told to."""
    rooted.start(mode="observe")
    rooted.ready()
    return rooted


@pytest.fixture
def managed(testbed: Testbed) -> Iterator[Managed]:
    """The test bed with nothing on its nodes, for `grid-offloader up`."""
    testbed.run("ray", "down")
    testbed.run("monitoring", "down")
    made = Managed(testbed)
    made.empty()
    made.install_templates()
    made.limit(None)
    yield made
    made.end()
    made.limit(made.settings.cpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failed test, what the controller said: its log goes with the test bed."""
    report = yield
    given = getattr(item, "funcargs", {})
    controlled = given.get("controlled") or given.get("rooted")
    if report.failed and controlled is not None:
        with suppress(OSError):
            report.sections.append(("The controller's log", "\n".join(controlled.log().splitlines()[-LOG_LINES:])))
    return report
