"""Measurements that nobody made, for the parts that only count and tell."""

import pytest

from benchmarks.exporter.contenders import NODE, OURS, PROCESS
from benchmarks.exporter.kernel_limit import Pass
from benchmarks.exporter.load import Load, Scenario
from benchmarks.exporter.measure import Course, Measured, Plan
from benchmarks.exporter.report import Report
from benchmarks.exporter.scrape import Scrape
from benchmarks.machine import Machine

MIB = 1 << 20


@pytest.fixture
def course():
    """An exporter: milliseconds of CPU in each scrape, and MiB resident; between scrapes it uses `between` ms each."""

    def make(*cpu_ms, rss_mib=20, between=0.0):
        scrapes = tuple(Scrape(ms / 1e3, ms / 500, rss_mib * MIB, 1000, 5000, 400) for ms in cpu_ms)
        return Course(scrapes, sum(cpu_ms) / 1e3 + between / 1e3 * len(cpu_ms), (rss_mib + 1) * MIB)

    return make


@pytest.fixture
def measured(course):
    """Ours as given, against a pair that takes 10 + 90 ms in 20 + 20 MiB, and a limit of 5 ms."""

    def make(ours, processes=5000, scenario=Scenario.PLAIN):
        courses = {OURS: ours, NODE: course(10, 10), PROCESS: course(90, 90)}
        passes = (Pass(0.004, processes + 100, 0), Pass(0.006, processes + 103, 2))
        return Measured(Load(scenario, processes), 8.0, processes + 300, 1.5, courses, passes)

    return make


@pytest.fixture
def report():
    """Nothing measured so far."""
    machine = Machine(
        cpu="a processor", cores=2, memory_bytes=1 << 34, architecture="x86_64", kernel="6.1.0", system="Debian",
        python="3.11.2", load_average=0.1, commit=None,
    )  # fmt: skip
    return Report(machine, {OURS: "grid-exporter 1"}, Plan(2, 0, 1.0), "2026-01-01T00:00:00+00:00")
