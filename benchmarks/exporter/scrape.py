"""One scrape as Prometheus makes it, over a connection that is kept, and what it cost the exporter."""

import gzip
import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import CannotRunError
from benchmarks.exporter.contenders import HOST, Listening

# Prometheus 2.42, scrape/scrape.go
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/2.42.0",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}
_TIMEOUT_S = 60.0
_SETTLE_S = 0.02  # the rest of its work after the last byte, and the clock of threads that still run, up to a tick late


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one scrape cost and gave. Times in seconds, sizes in bytes; `body` as sent, `text` as unpacked."""

    cpu_s: float
    latency_s: float
    rss_bytes: int
    body_bytes: int
    text_bytes: int
    series: int


def cpu_ns(pid: int) -> int:
    """CPU time of a process, all its threads since its start, those that ended included (man 3 clock_getcpuclockid)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def resident(pid: int) -> tuple[int, int]:
    """Bytes resident now, and at most so far (man 5 proc: VmRSS, VmHWM). Raises OSError when the process has ended."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in fields:
        raise ProcessLookupError(f"{pid} is a zombie")
    return _bytes(fields["VmRSS"]), _bytes(fields["VmHWM"])


def _bytes(field: str) -> int:
    return int(field.removesuffix("kB")) << 10


def count_series(text: str) -> int:
    """Samples of an exposition: its lines without comments."""
    return sum(1 for line in text.splitlines() if line and not line.startswith("#"))


class Scraper:
    """Scrapes one exporter again and again."""

    def __init__(self, target: Listening, connection: http.client.HTTPConnection) -> None:
        self.target = target
        self._connection = connection

    def scrape(self) -> Scrape:
        """Once. Raises CannotRunError when it does not answer, or not what it should."""
        pid = self.target.process.pid
        try:
            before, started = cpu_ns(pid), time.perf_counter()
            status, packed, body = self._get()
            latency = time.perf_counter() - started
            time.sleep(_SETTLE_S)
            cpu, (rss, _) = cpu_ns(pid) - before, resident(pid)
        except (OSError, http.client.HTTPException) as error:
            self.target.check()
            raise CannotRunError(f"{self.target.contender.name} did not answer: {error!r}") from error
        text = (gzip.decompress(body) if packed else body).decode("utf-8", "replace")
        if status != http.client.OK or self.target.contender.tells not in text:
            raise CannotRunError(
                f"{self.target.contender.name} answered {status}, without {self.target.contender.tells}"
            )
        return Scrape(cpu / 1e9, latency, rss, len(body), len(text.encode()), count_series(text))

    def _get(self) -> tuple[int, bool, bytes]:
        """Status, whether the body is packed, body; on a new connection when the exporter has closed the idle one."""
        try:
            return self._ask()
        except (http.client.RemoteDisconnected, ConnectionError):
            self._connection.close()
            return self._ask()

    def _ask(self) -> tuple[int, bool, bytes]:
        self._connection.request("GET", "/metrics", headers=HEADERS)
        answer = self._connection.getresponse()
        return answer.status, answer.headers.get("Content-Encoding") == "gzip", answer.read()


@contextmanager
def scraper(target: Listening) -> Iterator[Scraper]:
    """With its connection, which is closed on leaving."""
    connection = http.client.HTTPConnection(HOST, target.port, timeout=_TIMEOUT_S)
    try:
        yield Scraper(target, connection)
    finally:
        connection.close()
