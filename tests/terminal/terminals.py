"""A terminal with somebody at it: a pseudoterminal whose other side the test types on and reads."""

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 30.0
STUB = (sys.executable, "-m", "offloader.cli")


def wait_for(condition: Callable[[], object], what: str = "the condition") -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in time"
        time.sleep(0.02)


def state_of(pid: int) -> str:
    """The letter of proc_pid_stat(5); empty: gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Screen:
    """One terminal, and the process that was started on it as the leader of its session."""

    def __init__(self, argv: tuple[str, ...], env: dict[str, str], cwd: Path, *, stdout: int | None = None) -> None:
        self.master, slave = os.openpty()
        self.resize(24, 80)
        self.attributes = termios.tcgetattr(slave)
        self.seen = b""

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=stdout or slave,
            stderr=slave,
            env=env,
            cwd=cwd,
            preexec_fn=take_terminal,  # noqa: PLW1509 - this process has no threads
        )
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def until(self, text: bytes) -> bytes:
        """Read until that is there; returns what came up to it, and goes on behind it."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not come; seen: {self.seen!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError:
                    assert text in self.seen, f"the terminal ended without {text!r}; seen: {self.seen!r}"
        before, _, self.seen = self.seen.partition(text)
        return before

    def rest(self) -> bytes:
        """What is there up to the end of the process."""
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 65536):
                self.seen += data
        return self.seen

    @property
    def now(self) -> list[object]:
        """The terminal's modes."""
        return termios.tcgetattr(self.master)

    def hang_up(self) -> None:
        """As when the connection is lost."""
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    def code(self) -> int:
        """The exit code."""
        return self.process.wait(LIMIT_S)

    def close(self) -> None:
        self.hang_up()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)


def marked(name: str, value: str) -> list[int]:
    """Processes with that in their environment."""
    entry = f"{name}={value}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if entry in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def end(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
