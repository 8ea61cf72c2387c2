"""The three exporters: ours, and the two that a site would run for the same answers."""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import CannotRunError
from benchmarks.exporter.load import SIGNIFICANT
from benchmarks.exporter.programs import end, last_words, tied
from benchmarks.machine import PROJECT

OURS = "grid_exporter"
NODE = "node_exporter"
PROCESS = "process_exporter"
PAIR = (NODE, PROCESS)
UNPACKED = PROJECT / ".cache/debian/usr/bin"
HOST = "127.0.0.1"

_PROCESS_CONFIG = f"process_names:\n- name: '{{{{.Comm}}}}'\n  comm: [{SIGNIFICANT}]\n"
_START_S = 60.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Contender:
    """An exporter: the command without its address, and what its answer must contain."""

    name: str
    command: tuple[str, ...]
    tells: str


@dataclass(frozen=True, slots=True)
class Listening:
    """One that runs. `log` has what it writes."""

    contender: Contender
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def check(self) -> None:
        """Raise CannotRunError when it has ended."""
        if (code := self.process.poll()) is not None:
            raise CannotRunError(f"{self.contender.name} ended (exit code {code}): {last_words(self.log)}")


def contenders(folder: Path, unpacked: Path = UNPACKED) -> tuple[Contender, ...]:
    """The three, in the order in which they are scraped. Raises CannotRunError when one is not on this machine."""
    config = folder / "process-exporter.yml"
    config.write_text(_PROCESS_CONFIG, encoding="ascii")
    node, process = unpacked / "prometheus-node-exporter", unpacked / "prometheus-process-exporter"
    if missing := [program.name for program in (node, process) if not program.exists()]:
        raise CannotRunError(f"{' and '.join(missing)} not found in {unpacked}: run deploy/setup")
    cheapest = ("-config.path", str(config), "-children=true", "-threads=false", "-gather-smaps=false")
    return (
        Contender(OURS, (sys.executable, "-m", "exporter"), "grid_process_"),
        Contender(NODE, (str(node),), "node_cpu_seconds_total"),
        Contender(PROCESS, (str(process), *cheapest), f'groupname="{SIGNIFICANT}"'),
    )


def version(contender: Contender) -> str:
    """The first line that its --version prints."""
    command = [*contender.command, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    return next(iter((done.stdout + done.stderr).splitlines()), "unknown")


@contextmanager
def listening(contender: Contender, folder: Path) -> Iterator[Listening]:
    """It answers; ended on leaving, and by the kernel if this process dies. Raises CannotRunError."""
    port, log = _free_port(), folder / f"{contender.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            tied([*contender.command, f"--web.listen-address={HOST}:{port}"]),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=PROJECT,
            start_new_session=True,  # Ctrl-C is for us: we end it
        )
    try:
        started = Listening(contender, process, port, log)
        _wait_for_answer(started)
        yield started
    finally:
        end(process)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as taken:
        return int(taken.getsockname()[1])


def _wait_for_answer(started: Listening) -> None:
    deadline = time.monotonic() + _START_S
    while not _answers(started.port):
        started.check()
        if time.monotonic() > deadline:
            raise CannotRunError(
                f"{started.contender.name} does not answer after {_START_S:.0f} s: {last_words(started.log)}"
            )
        time.sleep(_POLL_S)


def _answers(port: int) -> bool:
    """Whether its landing page, which costs nothing, is there."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_START_S)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
