"""Real processes of every kind that decides whether something may move, judged as the controller does."""

import contextlib
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from offloader.adapters.processes import ProcessSource
from offloader.engine.candidates import candidate_for
from offloader.engine.select import assess
from offloader.model import Candidate, Obstacle, Policy, Reason, Resource, Rule, RuleSelect, StrategyName

PYTHON = "/usr/bin/python3"  # an ordinary user may run it too
SLEEPS = "import time; time.sleep(600)"
RULE = Rule("g", "cpu", "x", Resource.CPU, 0.8, 0.6, 0.0, select=RuleSelect(min_age_s=0.0, restart_safe=("*",)))
MARK = "JOB_KINDS_TEST"

CLIENT = "import socket, sys\nclient = socket.socket(socket.AF_UNIX)\nclient.connect(sys.argv[1])"

SUPERVISES = f"""
import subprocess, sys
while True:
    subprocess.run(["{PYTHON}", "-c", "open('/proc/self/comm', 'w').write('supervised'); {SLEEPS}"],
                   start_new_session=True, check=False)
"""


class Kinds:
    """Starts work below a boundary of its own, and judges it as the controller does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = ProcessSource()
        self.mark = f"{root.name}-{os.getpid()}"
        self.children: list[subprocess.Popen[bytes]] = []
        # What stands above the controller is a boundary: with this in its place, the test itself is one.
        self.controller = self.start(PYTHON, "-c", SLEEPS)

    def start(self, *argv: str, **more: object) -> int:
        options: dict[str, object] = {"stdin": subprocess.DEVNULL, "start_new_session": True, "cwd": self.root, **more}
        environment = {"PATH": os.environ["PATH"], MARK: self.mark, **options.pop("env", {})}
        child = subprocess.Popen(argv, env=environment, **options)
        self.children.append(child)
        return child.pid

    def python(self, program: str, *arguments: str, **more: object) -> int:
        """Its pid, once the program has said that it is ready."""
        mark = self.root / f"ready-{len(self.children)}"
        pid = self.start(PYTHON, "-c", f"{program}\nopen({str(mark)!r}, 'w').close()\n{SLEEPS}", *arguments, **more)
        self.until(mark.exists)
        return pid

    def script(self, name: str, program: str) -> str:
        """A program file of that name; who is called cron is cron."""
        path = self.root / name
        path.write_text(program)
        return str(path)

    def judged(self, pid: int, **changes: object) -> Candidate:
        """The job of that process, under a policy with these changes."""
        policy = replace(Policy("head", own_uid=0, min_uid=0, licence_variables=("*LM_LICENSE_FILE",)), **changes)
        found = candidate_for(
            self.source.read(detail=True), pid, node="head", policy=policy, own_pids=frozenset({self.controller})
        )
        assert isinstance(found, Candidate)
        return replace(found, age_s=300.0)  # older than these seconds: a move pays

    def verdict(self, pid: int, rule: Rule = RULE, **policy: object) -> Reason | None:
        """What keeps a rule from moving it, if anything."""
        found = assess(self.judged(pid, **policy), rule, {Resource.CPU: 0.5}, (StrategyName.RESTART,))
        if isinstance(found, Obstacle):
            return found.reason
        return found.waits.reason if found.waits else None

    def waits_for(self, pid: int, reason: Reason) -> Candidate:
        """Until its verdict is that: a process needs a moment to become what it is."""
        self.until(lambda: self.verdict(pid) is reason, lambda: str(self.verdict(pid)))
        return self.judged(pid)

    def named(self, comm: str) -> int | None:
        """The pid of ours that runs under this name."""
        for one in self.source.read(detail=True).values():
            if one.comm == comm and self.mark.encode() in self.environ(one.pid):
                return one.pid
        return None

    def appears(self, comm: str) -> int:
        self.until(lambda: self.named(comm) is not None, lambda: f"no {comm}")
        pid = self.named(comm)
        assert pid is not None
        return pid

    def until(self, condition: Callable[[], object], what: Callable[[], str] = str) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, what()
            time.sleep(0.02)

    @staticmethod
    def environ(pid: int) -> bytes:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/environ").read_bytes()
        return b""

    def end(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self.mark.encode() in self.environ(int(entry.name)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
        for child in self.children:
            child.kill()
            child.wait()


@contextlib.contextmanager
def interactive(kinds: Kinds) -> Iterator[int]:
    """A terminal in which an interactive shell waits for what is typed."""
    shell, terminal = pty.fork()
    if shell == 0:
        os.closerange(3, 1024)  # what the test run itself inherited would be an open edge
        os.environ.update({MARK: kinds.mark, "HISTFILE": ""})
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    try:
        yield terminal
    finally:
        os.kill(shell, signal.SIGKILL)
        os.waitpid(shell, 0)
        os.close(terminal)
