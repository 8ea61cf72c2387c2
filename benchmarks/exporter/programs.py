"""Programs that a measurement runs: compiled, tied to its life, ended."""

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.errors import CannotRunError

_SOURCES = Path(__file__).resolve().parent
_STATIC = ["-O2", "-Wall", "-Wextra", "-static", "-pthread"]  # static: thousands of processes cost little memory
_END_S = 10.0


def require(*names: str) -> None:
    """Raise CannotRunError unless these programs are on PATH."""
    if missing := [name for name in names if shutil.which(name) is None]:
        raise CannotRunError(f"{' and '.join(missing)} not found: run deploy/setup")


def compiled(name: str, folder: Path) -> Path:
    """The program made of NAME.c in this package. Raises CannotRunError."""
    program = folder / name
    command = ["gcc", *_STATIC, "-o", str(program), str(_SOURCES / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRunError(
            f"gcc cannot compile {name}.c (is libc6-dev there? run deploy/setup): {done.stderr.strip()}"
        )
    return program


def tied(command: Sequence[str]) -> list[str]:
    """The command such that the kernel ends it when the thread that started it is gone (man 1 setpriv, --pdeathsig)."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def end(process: subprocess.Popen[bytes], within_s: float = _END_S) -> None:
    """TERM, and KILL if that is not enough; returns when it is over."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
    process.kill()
    process.wait()


def last_words(log: Path) -> str:
    """The last line that a program wrote, for messages."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
