"""A running exporter over a copy of a fixture tree, and the fake GPU library."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fake_nvml import build

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
PROJECT = HERE.parent.parent


@dataclass
class RunningExporter:
    process: subprocess.Popen[str]
    url: str

    def get(self, path: str = "/metrics", **headers: str) -> str:
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def get_until(self, pattern: str, seconds: float = 10) -> str:
        """Scrape until a line matches."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.get()
            if re.search(pattern, text, re.MULTILINE) or time.monotonic() > deadline:
                return text
            time.sleep(0.2)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A private copy of the host fixture's /proc."""
    shutil.copytree(FIXTURES / "host" / "proc", tmp_path / "proc", symlinks=True)
    return tmp_path / "proc"


@pytest.fixture
def start_exporter() -> Iterator[Callable[..., RunningExporter]]:
    """Starts `python -m exporter OPTION…` on a free port; everything is ended afterwards.

    `prefix` is a program that runs it, `program` what Python runs instead, `stop` the signal that ends it.
    """
    running: list[tuple[subprocess.Popen[str], signal.Signals]] = []

    def start(
        *options: str,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        program: Sequence[str] = ("-m", "exporter"),
        stop: signal.Signals = signal.SIGTERM,
    ) -> RunningExporter:
        process = subprocess.Popen(
            [*prefix, sys.executable, *program, "--web.listen-address", "127.0.0.1:0", *options],
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, **(env or {})},
        )
        running.append((process, stop))
        return RunningExporter(process, _listening_url(process))

    yield start
    for process, stop in running:
        process.send_signal(stop)
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


def _listening_url(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    seen = ""
    while select.select([process.stderr], [], [], 20)[0]:
        chunk = os.read(process.stderr.fileno(), 1 << 16)  # unbuffered: select() does not see what a buffer holds
        seen += chunk.decode()
        if match := re.search(r"listens on (https?://\S+)/metrics\n", seen):
            return match[1]
        if not chunk:
            break
    pytest.fail(f"the exporter did not start: {seen}")


@pytest.fixture
def exporter(start_exporter: Callable[..., RunningExporter], proc: Path) -> RunningExporter:
    """One over the host fixture."""
    return start_exporter(f"--procfs={proc}", "--no-collector=gpu")


@pytest.fixture
def address(exporter: RunningExporter) -> tuple[str | None, int | None]:
    """Where it listens."""
    url = urlsplit(exporter.url)
    return url.hostname, url.port


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a freshly built fake libnvidia-ml.so.1, for LD_LIBRARY_PATH."""
    folder = build(tmp_path_factory.mktemp("nvml"))
    if folder is None:
        pytest.skip("gcc is missing: the fake NVML library cannot be built (apt-get install gcc libc6-dev)")
    return folder
