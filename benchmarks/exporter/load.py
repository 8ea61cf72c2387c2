"""The load of a measurement: many sleeping processes, a few busy ones, and what makes a scenario."""

import os
import selectors
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.errors import CannotRunError
from benchmarks.exporter.programs import end, last_words, tied

NAME = "gridload"
COMMAND_NAMES = 40
SIGNIFICANT = f"{NAME}-00"
"""The name of the processes that hold memory, 1 of COMMAND_NAMES: for them somebody runs a process exporter."""
SIGNIFICANT_BYTES = 4608 << 10  # more than the 4 MiB from which a process matters to ours
BUSY = 10
BUSY_US = 2000  # in every 100 ms: 2 % of a core each
FORKS_PER_SECOND = 200
THREADS = 16
_START_S = 300.0
_END_S = 60.0


class Scenario(StrEnum):
    """What the processes do besides sleeping."""

    PLAIN = "plain"
    FORKS = "forks"
    THREADS = "threads"


@dataclass(frozen=True, slots=True)
class Load:
    """One load: a scenario and the number of sleeping processes."""

    scenario: Scenario
    processes: int

    @property
    def threads(self) -> int:
        """Threads of each process."""
        return THREADS if self.scenario is Scenario.THREADS else 1

    @property
    def forks(self) -> int:
        """Processes started each second, which live for 20 ms."""
        return FORKS_PER_SECOND if self.scenario is Scenario.FORKS else 0

    @property
    def significant(self) -> int:
        """Processes that hold memory."""
        return -(-self.processes // COMMAND_NAMES)

    def __str__(self) -> str:
        return f"{self.scenario}, {self.processes} processes"


class Running:
    """A load that is there. `log` has what its supervisor says."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raise CannotRunError when it is not all there any more."""
        if (code := self._process.poll()) is not None:
            raise CannotRunError(f"the load ended (exit code {code}): {last_words(self._log)}")


@contextmanager
def running(load: Load, program: Path, folder: Path) -> Iterator[Running]:
    """All its processes, ready; ended on leaving, and by the kernel if this process dies. Raises CannotRunError."""
    log = folder / "load.log"
    figures = (load.processes, COMMAND_NAMES, SIGNIFICANT_BYTES, load.threads, BUSY, BUSY_US, load.forks)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            tied([str(program), NAME, *map(str, figures)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for us: we end it
        )
    try:
        _wait_until_ready(process, log)
        yield Running(process, log)
    finally:
        _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(_START_S):
            raise CannotRunError(f"the load is not ready after {_START_S:.0f} s")
    if os.read(process.stdout.fileno(), 64) != b"ready\n":
        raise CannotRunError(f"the load could not be started: {last_words(log)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()  # the supervisor ends all others and then itself
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    end(process)
    process.stdout.close()
