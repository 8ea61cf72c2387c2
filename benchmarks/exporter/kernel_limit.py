"""The least that any exporter can spend on asking the kernel which processes did something."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import CannotRunError
from benchmarks.exporter.programs import end, tied


@dataclass(frozen=True, slots=True)
class Pass:
    """One look at the CPU clock of every process: seconds of CPU time, clocks read, processes gone meanwhile."""

    cpu_s: float
    processes: int
    gone: int


class KernelLimit:
    """A small program that looks when it is told to."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def look(self, pids: Sequence[int]) -> Pass:
        """At these processes. Raises CannotRunError when the kernel (a sandbox) has no clocks of other processes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write((" ".join(map(str, pids)) + "\n").encode())
            self._process.stdin.flush()
            took, read, gone = map(int, self._process.stdout.readline().split())
        except (OSError, ValueError) as error:
            raise CannotRunError("the program that reads CPU clocks ended") from error
        if read < gone:
            raise CannotRunError(f"CPU clocks of other processes cannot be read here: {gone} of {len(pids)} failed")
        return Pass(took / 1e9, read, gone)


@contextmanager
def kernel_limit(program: Path) -> Iterator[KernelLimit]:
    """The program, running; ended on leaving, and by the kernel if this process dies."""
    process = subprocess.Popen(
        tied([str(program)]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield KernelLimit(process)
    finally:
        end(process)
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()


def pids_on_node() -> list[int]:
    """Of every process that /proc shows."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
