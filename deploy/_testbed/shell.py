"""Running programs, waiting for conditions, talking to the person at the terminal."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from _testbed.errors import TestbedError

POLL_S = 0.02
PATIENCE_S = 2


def say(message: str) -> None:
    """Progress and remarks; standard output is for data."""
    print(message, file=sys.stderr, flush=True)


def run(argv: Sequence[str], *, text: str | None = None, timeout: float = 20, env: dict[str, str] | None = None) -> str:
    """Run a program to its end and return its standard output.

    Raises TestbedError with the program's own message when it fails or takes longer than `timeout` seconds.
    """
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, env=env, check=False)
    except FileNotFoundError as error:
        raise TestbedError(f"{argv[0]} is not installed: run deploy/setup") from error
    except subprocess.TimeoutExpired as error:
        raise TestbedError(f"{' '.join(argv)}: no answer within {timeout:g} s") from error
    if done.returncode:
        raise TestbedError(f"{' '.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return as soon as `condition` holds; raise TestbedError naming `what` after `seconds`; say so after two."""
    start = time.monotonic()
    told = False
    while not condition():
        waited = time.monotonic() - start
        if waited > seconds:
            raise TestbedError(f"{what}: not within {seconds:g} s")
        if waited > PATIENCE_S and not told:
            say(f"  … waiting: {what}")
            told = True
        time.sleep(POLL_S)


def start_time(pid: int) -> int | None:
    """Start of a live process in clock ticks since boot (proc(5), stat field 22); None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def kill(pid: int, signum: int) -> None:
    """Signal one process; that it is gone already is no error."""
    with suppress(ProcessLookupError):
        os.kill(pid, signum)
