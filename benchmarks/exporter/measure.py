"""One measurement: a load, the three exporters and the kernel's limit, asked in turn."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.exporter import load as loads
from benchmarks.exporter.contenders import Contender, listening
from benchmarks.exporter.kernel_limit import KernelLimit, Pass, kernel_limit, pids_on_node
from benchmarks.exporter.load import Load
from benchmarks.exporter.scrape import Scrape, Scraper, cpu_ns, resident, scraper
from benchmarks.output import Say

_NEWS_EVERY = 10  # rounds


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each is asked, after how many rounds that do not count, and seconds of rest before each."""

    scrapes: int
    warm_up: int
    pause_s: float

    def seconds(self) -> float:
        """About how long one measurement takes, from experience."""
        return (self.scrapes + self.warm_up) * (4 * self.pause_s + 0.3) + 5


@dataclass(frozen=True, slots=True)
class Tools:
    """What a measurement needs: the compiled programs, the exporters, a folder for logs."""

    load: Path
    kernel_limit: Path
    contenders: tuple[Contender, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class Course:
    """One exporter over a whole measurement. `cpu_s` counts what it did between scrapes, too."""

    scrapes: tuple[Scrape, ...]
    cpu_s: float
    rss_peak_bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was seen. `forks_per_second` are those of the whole node; a new thread counts as one."""

    load: Load
    seconds: float
    tasks_on_node: int
    forks_per_second: float
    courses: dict[str, Course]
    passes: tuple[Pass, ...]


def measure(load: Load, plan: Plan, tools: Tools, say: Say) -> Measured:
    """Start everything, ask in turn, end everything. Raises CannotRunError."""
    with ExitStack() as stack:
        say(f"{load}: starting")
        running = stack.enter_context(loads.running(load, tools.load, tools.folder))
        targets = [stack.enter_context(listening(contender, tools.folder)) for contender in tools.contenders]
        scrapers = [stack.enter_context(scraper(target)) for target in targets]
        limit = stack.enter_context(kernel_limit(tools.kernel_limit))
        for _ in range(plan.warm_up):
            _round(scrapers, limit, plan.pause_s)

        pids = [target.process.pid for target in targets]
        began, forks = time.monotonic(), _forks()
        before = [cpu_ns(pid) for pid in pids]
        rounds = []
        for done in range(1, plan.scrapes + 1):
            rounds.append(_round(scrapers, limit, plan.pause_s))
            running.check()
            if done % _NEWS_EVERY == 0 or done == plan.scrapes:
                say(f"{load}: {done} of {plan.scrapes} scrapes")
        used = [(cpu_ns(pid) - start) / 1e9 for pid, start in zip(pids, before, strict=True)]
        seconds = time.monotonic() - began
        return Measured(
            load=load,
            seconds=seconds,
            tasks_on_node=_tasks(),
            forks_per_second=(_forks() - forks) / seconds,
            courses={
                target.contender.name: Course(
                    scrapes=tuple(scrapes[i] for scrapes, _ in rounds),
                    cpu_s=used[i],
                    rss_peak_bytes=resident(target.process.pid)[1],
                )
                for i, target in enumerate(targets)
            },
            passes=tuple(look for _, look in rounds),
        )


def _round(scrapers: list[Scraper], limit: KernelLimit, pause_s: float) -> tuple[list[Scrape], Pass]:
    """Each one once."""
    scrapes = []
    for each in scrapers:
        time.sleep(pause_s)
        scrapes.append(each.scrape())
    pids = pids_on_node()  # before the pause: listing warms the very caches that the look is to find cold
    time.sleep(pause_s)
    return scrapes, limit.look(pids)


def _forks() -> int:
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("processes "))


def _tasks() -> int:
    return int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[2])
