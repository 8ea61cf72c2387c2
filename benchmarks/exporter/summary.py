"""What was measured, in a few figures, and whether the goals hold. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.exporter.contenders import OURS, PAIR
from benchmarks.exporter.measure import Course, Measured


@dataclass(frozen=True, slots=True)
class Summary:
    """One exporter, per scrape. Seconds and bytes.

    `cpu_s` is its CPU time over the whole measurement by the number of scrapes, what it does between them included; the
    `scrape_cpu_s` are those of the scrapes alone. Sizes are medians, `rss_bytes` a mean.
    """

    cpu_s: float
    scrape_cpu_s: float
    scrape_cpu_s_p50: float
    scrape_cpu_s_p99: float
    latency_s_p50: float
    latency_s_p99: float
    rss_bytes: float
    rss_peak_bytes: int
    series: int
    body_bytes: int
    text_bytes: int


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ours to the pair's sum, and to the kernel's limit. `scrape_cpu` leaves out what is done between scrapes."""

    cpu_to_pair: float
    scrape_cpu_to_pair: float
    rss_to_pair: float
    cpu_to_kernel_limit: float


@dataclass(frozen=True, slots=True)
class Goal:
    """At most `limit`; better `aim`."""

    limit: float
    aim: float | None = None


CPU_GOALS = {100: Goal(0.5, 0.3), 1000: Goal(0.15, 0.09), 5000: Goal(0.08, 0.046)}
"""Of the pair's CPU time, by number of processes."""
RSS_GOAL = Goal(1.0)
KERNEL_GOALS = {5000: Goal(2.5)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal, by the name of its ratio, and the value that was measured."""

    ratio: str
    value: float
    goal: Goal

    @property
    def holds(self) -> bool:
        """Whether the goal is reached."""
        return self.value <= self.goal.limit

    @property
    def aim_reached(self) -> bool | None:
        """Whether it is as good as hoped for; None where there is no such hope."""
        return None if self.goal.aim is None else self.value <= self.goal.aim


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least so many percent of them do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def summarise(course: Course) -> Summary:
    """One exporter's figures."""
    scrapes = course.scrapes
    cpu, latency = [scrape.cpu_s for scrape in scrapes], [scrape.latency_s for scrape in scrapes]
    return Summary(
        cpu_s=course.cpu_s / len(scrapes),
        scrape_cpu_s=fmean(cpu),
        scrape_cpu_s_p50=percentile(cpu, 50),
        scrape_cpu_s_p99=percentile(cpu, 99),
        latency_s_p50=percentile(latency, 50),
        latency_s_p99=percentile(latency, 99),
        rss_bytes=fmean(scrape.rss_bytes for scrape in scrapes),
        rss_peak_bytes=course.rss_peak_bytes,
        series=int(percentile([scrape.series for scrape in scrapes], 50)),
        body_bytes=int(percentile([scrape.body_bytes for scrape in scrapes], 50)),
        text_bytes=int(percentile([scrape.text_bytes for scrape in scrapes], 50)),
    )


def kernel_cpu_s(measured: Measured) -> float:
    """CPU seconds that one look at every process's clock takes."""
    return fmean(look.cpu_s for look in measured.passes)


def ratios(measured: Measured) -> Ratios:
    """Ours to what it is measured against."""
    ours = summarise(measured.courses[OURS])
    pair = [summarise(measured.courses[name]) for name in PAIR]
    return Ratios(
        cpu_to_pair=ours.cpu_s / sum(other.cpu_s for other in pair),
        scrape_cpu_to_pair=ours.scrape_cpu_s / sum(other.scrape_cpu_s for other in pair),
        rss_to_pair=ours.rss_bytes / sum(other.rss_bytes for other in pair),
        cpu_to_kernel_limit=ours.cpu_s / kernel_cpu_s(measured),
    )


def verdicts(processes: int, found: Ratios) -> list[Verdict]:
    """The goals that exist for so many processes."""
    judged = [Verdict("rss_to_pair", found.rss_to_pair, RSS_GOAL)]
    if goal := CPU_GOALS.get(processes):
        judged.insert(0, Verdict("cpu_to_pair", found.cpu_to_pair, goal))
    if goal := KERNEL_GOALS.get(processes):
        judged.append(Verdict("cpu_to_kernel_limit", found.cpu_to_kernel_limit, goal))
    return judged
