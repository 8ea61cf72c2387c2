"""A terminal with somebody at it: a pseudoterminal whose other side the test types on and reads."""

import contextlib
import fcntl
import os
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 30.0
PROJECT = Path(__file__).resolve().parents[2]
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
        self.shown = b""
        """All of it, from the beginning."""

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
                    self._read()
                except OSError:
                    assert text in self.seen, f"the terminal ended without {text!r}; seen: {self.seen!r}"
        before, _, self.seen = self.seen.partition(text)
        return before

    def rest(self) -> bytes:
        """What is there up to the end of the process."""
        with contextlib.suppress(OSError):
            while self._read():
                pass
        return self.seen

    def _read(self) -> bytes:
        data = os.read(self.master, 65536)
        self.seen += data
        self.shown += data
        return data

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


def named(pid: int, name: str) -> bool:
    """Whether that is a word of its command line."""
    try:
        return name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _started_by_run(pid: int) -> bool:
    try:
        return b"GRID_OFFLOAD_RUN=local_" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


class Desk:
    """Opens terminals. All that is started on them carries a mark, and is ended by its pid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TERM": "dumb",
            "PYTHONPATH": str(PROJECT),
            "GRID_OFFLOADER_STATE_DIR": str(folder / "state"),
            "TERMINAL_TEST": self.mark,
            "PS1": "prompt> ",
        }
        self.screens: list[Screen] = []

    def open(self, *argv: str, **options) -> Screen:
        screen = Screen(argv, self.env, self.folder, **options)
        self.screens.append(screen)
        return screen

    def local(self, *command: str, **options) -> Screen:
        """`run --local` as the leader of the terminal's session."""
        return self.open(*STUB, "run", "--local", "--", *command, **options)

    @staticmethod
    def line(*command: str) -> bytes:
        """`run --local` as typed in a shell."""
        return shlex.join([*STUB, "run", "--local", "--", *command]).encode() + b"\n"

    def shell(self) -> Screen:
        screen = self.open("bash", "--norc", "--noprofile", "--noediting", "-i")
        screen.until(b"prompt> ")
        return screen

    def job(self, name: str) -> int:
        """The process of a job of `run --local`, by a word of its command line: its environment says which it is."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid in marked("TERMINAL_TEST", self.mark) if named(pid, name) and _started_by_run(pid)]
            return bool(found)

        wait_for(look, name)
        return found[-1]

    def close(self) -> None:
        end(marked("TERMINAL_TEST", self.mark))
        for screen in self.screens:
            screen.close()
        end(marked("TERMINAL_TEST", self.mark))
