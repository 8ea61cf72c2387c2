"""Real processes of every kind, ended with their test."""

import subprocess
from collections.abc import Iterator

import pytest

from offloader.adapters.processes import ProcessSource

PYTHON = "/usr/bin/python3"  # an ordinary user may run it too
READY = "print('ready', flush=True)\n"
FOR_EVER = "import sys; sys.stdin.read()"


class Farm:
    """Starts processes that wait until their stdin closes, and ends those that are left."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *argv: str, **more: object) -> int:
        """Its pid, once it has written a line."""
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    def python(self, setup: str, *arguments: str, **more: object) -> int:
        return self.start(PYTHON, "-c", f"{setup}\n{READY}{FOR_EVER}", *arguments, **more)

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def farm() -> Iterator[Farm]:
    farm = Farm()
    yield farm
    farm.end()


@pytest.fixture
def source() -> ProcessSource:
    return ProcessSource()
