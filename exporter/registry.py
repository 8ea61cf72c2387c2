"""Runs the collectors for one scrape: each in isolation, timed, with its success exported."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter import __version__
from exporter.collectors.base import DETAIL_MISSING, Collector
from exporter.exposition import Family, encode, group, negotiate
from exporter.metrics import Kind, Metric, Sample

log = logging.getLogger(__name__)

SUCCESS = Metric(
    "grid_exporter_collector_success",
    Kind.GAUGE,
    "1 where the collector did its work, 0 where it failed (its metrics are then absent).",
    "boolean",
    ("collector",),
    "grid_exporter_collector_success == 0",
)
DURATION = Metric(
    "grid_exporter_collector_duration_seconds",
    Kind.GAUGE,
    "How long the collector took.",
    "seconds",
    ("collector",),
    "topk(3, grid_exporter_collector_duration_seconds)",
)
SAMPLE_TIME = Metric(
    "grid_exporter_sample_time_seconds",
    Kind.GAUGE,
    "When this sample was taken, by the node's clock.",
    "seconds since the epoch",
    example="time() - grid_exporter_sample_time_seconds",
)
BUILD_INFO = Metric("grid_exporter_build_info", Kind.INFO, "Always 1: the version.", "none", ("version",))

OWN_METRICS = (SAMPLE_TIME, BUILD_INFO, SUCCESS, DURATION, DETAIL_MISSING)

SHORTEST_INTERVAL = 0.5
"""Seconds in which a second scraper gets the first one's sample: ratios over shorter windows would be noise."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One sample of the node: families in a fixed order, and when it began (monotonic)."""

    at: float
    families: tuple[Family, ...]


class Registry:
    """The collectors of one exporter."""

    def __init__(self, collectors: Sequence[Collector], clock: Callable[[], float] = time.monotonic) -> None:
        self._collectors = tuple(collectors)
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._last: Sampled | None = None
        self._failures: dict[str, str] = {}

    def prime(self) -> None:
        """A first look whose answer is thrown away: ratios need two, caches are filled before the first scrape."""
        with self._one_at_a_time:
            self._sample()

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """A sample taken now in the format that an Accept header asks for, and its content type."""
        wanted = negotiate(accept)
        return encode(self.collect(), wanted), wanted.value

    def collect(self) -> tuple[Family, ...]:
        """A sample taken now; of concurrent callers one works and the others share its result."""
        with self._one_at_a_time:
            now = self._clock()
            if self._last is None or now - self._last.at >= SHORTEST_INTERVAL:
                self._last = Sampled(now, self._sample())
            return self._last.families

    def _sample(self) -> tuple[Family, ...]:
        own = [SAMPLE_TIME.sample(time.time()), BUILD_INFO.sample(1, __version__)]
        found: list[Family] = []
        for collector in self._collectors:
            missing, families, success, seconds = self._run(collector)
            own += missing
            found += families
            own.append(SUCCESS.sample(success, collector.name))
            own.append(DURATION.sample(seconds, collector.name))
        return (*group(OWN_METRICS, own), *found)

    def _run(self, collector: Collector) -> tuple[list[Sample], list[Family], bool, float]:
        """What detail it misses, its families, whether it did its work, and the seconds that it took."""
        begin = time.perf_counter()
        missing: list[Sample] = []
        families: list[Family] = []
        failure = None
        try:
            samples = list(collector.collect())
            families = group(collector.metrics, (sample for sample in samples if sample.metric is not DETAIL_MISSING))
            missing = [sample for sample in samples if sample.metric is DETAIL_MISSING]
        except Exception as error:  # noqa: BLE001 -- the boundary: one failing collector never loses the scrape
            failure = f"{type(error).__name__}: {error}"
        self._tell(collector.name, failure)
        return missing, families, failure is None, time.perf_counter() - begin

    def _tell(self, name: str, failure: str | None) -> None:
        """Logs what is new: whoever scrapes does not fill the log."""
        if failure == self._failures.get(name):
            return
        if failure is None:
            log.info("collector %s works again", name)
            del self._failures[name]
        else:
            log.warning("collector %s failed: %s", name, failure)
            self._failures[name] = failure
