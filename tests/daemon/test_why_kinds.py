"""`why PID` of a real process of every kind, by a running controller: the right code, and a sentence that explains."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import stat
from pathlib import Path

import jsonschema
import pytest
from job_kinds import CLIENT, PYTHON, SLEEPS, SUPERVISES, Kinds, interactive

from offloader.engine.meanings import MEANINGS
from offloader.model import Reason

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.timeout(300)]

PROJECT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((PROJECT / "docs/why.schema.json").read_text(encoding="utf-8"))
RULES = """\
groups:
  - name: head
    interval: 1s
    rules:
      - {offload: any, resource: cpu, expr: 'node_load{role="head",resource="cpu"}', for: 0s,
         select: {min_age: 0s, exclude: [young.py]}}
      - {offload: older, resource: cpu, expr: 'node_load{role="head",resource="cpu"}', for: 0s,
         select: {include: [young.py]}}
"""
BURNS = "while True: pass"
LISTENS = "import socket\nserver = socket.create_server(('127.0.0.1', 0))"
MAY_BE_TRACED = "import ctypes; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)"
PTRACE_SEIZE = 0x4206  # linux/ptrace.h


class Zoo:
    """One of each. Every method gives the pid that a person would ask for."""

    def __init__(self, kinds: Kinds, stack: contextlib.ExitStack) -> None:
        self.kinds, self.stack = kinds, stack
        self.terminals: dict[str, int] = {}

    def called(self, name: str, program: str = SLEEPS, **more: object) -> int:
        return self.kinds.start(PYTHON, self.kinds.script(name, program), **more)

    def set_id_program(self) -> int:
        program = self.kinds.root / "privileged"
        shutil.copy("/bin/sleep", program)
        program.chmod(0o755 | stat.S_ISUID)
        return self.kinds.start(str(program), "600")

    def traced(self) -> int:
        pid, libc = self.kinds.python(MAY_BE_TRACED), ctypes.CDLL(None, use_errno=True)
        assert libc.ptrace(PTRACE_SEIZE, pid, None, None) == 0, os.strerror(ctypes.get_errno())
        return pid

    def stopped(self) -> int:
        pid = self.kinds.python("")
        os.kill(pid, signal.SIGSTOP)
        return pid

    def client_of_somebody(self) -> int:
        server = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        address = str(self.kinds.root / "X0")
        server.bind(address)
        server.listen()
        pid = self.kinds.python(CLIENT, address)
        self.stack.enter_context(server.accept()[0])
        return pid

    def shell(self) -> int:
        self.stack.enter_context(interactive(self.kinds))
        return self.kinds.appears("bash")

    def typed(self, line: str, comm: str) -> int:
        """What a line typed into an interactive shell starts."""
        os.write(self.stack.enter_context(interactive(self.kinds)), f"cd {self.kinds.root}; {line}\n".encode())
        return self.kinds.appears(comm)

    def work(self, comm: str) -> str:
        return f"""{PYTHON} -c 'open("/proc/self/comm", "w").write("{comm}"); {SLEEPS}'"""

    def supervised(self) -> int:
        self.called("supervisord", SUPERVISES)
        return self.kinds.appears("supervised")

    def cron_child(self) -> int:
        program = f"import subprocess\nsubprocess.run(['sh', '-c', {self.work('nightly')!r}], start_new_session=True)"
        self.called("cron", program)
        return self.kinds.appears("nightly")

    def all(self) -> dict[str, tuple[int, str, str]]:
        """By kind: pid, verdict, code."""
        allow, never = {"GRID_OFFLOAD": "allow"}, {"GRID_OFFLOAD": "never"}
        pipe = f"{self.work('producer')} | gzip -c >out.gz &"
        waiting = self.typed(f"{self.work('job')}; touch X", "job")
        producer = self.typed(pipe, "producer")
        return {
            "batch computation": (self.called("burn.py", BURNS, env=allow), "not_now", "RULE_FALSE"),
            "shell": (self.shell(), "never", "INTERACTIVE"),
            "editor": (self.called("vim"), "never", "INTERACTIVE"),
            "sshd": (self.called("sshd"), "never", "PROTECTED"),
            "kernel thread": (self.kernel_thread(), "never", "KERNEL_THREAD"),
            "Ray": (self.called("raylet"), "never", "PROTECTED"),
            "listener": (self.kinds.python(LISTENS), "owner_only", "LISTENER"),
            "another user's": (self.kinds.start(PYTHON, "-c", SLEEPS, user=1, cwd="/"), "never", "OTHER_USER"),
            "too young": (self.called("young.py", BURNS, env=allow), "not_now", "TOO_YOUNG"),
            "stopped": (self.stopped(), "blocked", "STOPPED"),
            "traced": (self.traced(), "blocked", "TRACED"),
            "set-id program": (self.set_id_program(), "never", "SET_ID"),
            "producer of a pipeline": (producer, "blocked", "NO_STRATEGY"),
            "gzip of a pipeline": (self.kinds.appears("gzip"), "blocked", "NO_STRATEGY"),
            "client of a unix socket": (self.client_of_somebody(), "blocked", "OPEN_EDGE"),
            "job; touch X": (waiting, "owner_only", "SHELL_WAITING"),
            "GRID_OFFLOAD=never": (self.called("mine.py", env=never), "blocked", "OPTED_OUT"),
            "srun": (self.called("srun"), "never", "SCHEDULER_CLIENT"),
            "supervised": (self.supervised(), "owner_only", "SUPERVISED"),
            "cron's": (self.cron_child(), "owner_only", "CRON"),
        }

    def kernel_thread(self) -> int:
        """Inside a container there is none: then nothing is proven of them here, and the test says so."""
        threads = [pid for pid, one in self.kinds.source.read(detail=True).items() if one.kernel]
        if not threads:
            pytest.skip("no kernel thread can be seen in this pid namespace")
        return threads[0]


@pytest.fixture
def zoo(tmp_path):
    (tmp_path / "zoo").mkdir()
    kinds = Kinds(tmp_path / "zoo")
    with contextlib.ExitStack() as stack:
        stack.callback(kinds.end)
        yield Zoo(kinds, stack)


def test_every_kind_is_told_its_code_in_a_sentence(daemon, cluster_file, zoo):
    (cluster_file.parent / "rules.yml").write_text(RULES)
    cluster_file.write_text(cluster_file.read_text() + "protect: {min_uid: 0}\n")
    daemon.start()
    wrong = []
    for kind, (pid, verdict, reason) in zoo.all().items():
        told = settled(daemon, pid, reason)
        jsonschema.validate(told, SCHEMA)
        if (told["verdict"], told["reason"]) != (verdict, reason):
            wrong.append((kind, verdict, reason, told["sentence"]))
            continue
        assert told["sentence"].endswith(MEANINGS[Reason(reason)])
        assert ("move" in told["commands"]) is (verdict in ("owner_only", "not_now")), kind
        assert pid in {member["pid"] for member in told["members"]}
    assert wrong == []
    assert not (zoo.kinds.root / "X").exists()


def settled(daemon, pid, reason):
    """Its answer; a process needs a moment to become what it is, and the code is polled for that long."""
    told = daemon.why(pid)
    with contextlib.suppress(AssertionError):
        daemon.until(lambda: told.update(daemon.why(pid)) or told["reason"] == reason, 10.0)
    return told
