"""What is told of the measurements: a JSON document (report.schema.json) and a table. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from benchmarks.exporter.contenders import OURS, PAIR
from benchmarks.exporter.load import Load
from benchmarks.exporter.measure import Measured, Plan
from benchmarks.exporter.summary import Summary, Verdict, kernel_cpu_s, ratios, summarise, verdicts
from benchmarks.machine import Machine
from benchmarks.table import aligned

_MS = 1e3
_MIB = 1 << 20
_SAID = {
    "cpu_to_pair": "CPU time, of the pair's",
    "rss_to_pair": "memory, of the pair's",
    "cpu_to_kernel_limit": "CPU time, of the kernel's limit",
}
_HEAD = ("", "CPU ms", "in scrapes", "their p99", "ms to answer", "p99", "RSS MiB", "peak", "series", "bytes")


@dataclass(slots=True)
class Report:
    """All that one run of the benchmark found so far. `not_run`: what it could not do, and why."""

    machine: Machine
    versions: Mapping[str, str]
    plan: Plan
    started: str
    finished: str | None = None
    measured: list[Measured] = field(default_factory=list)
    not_run: list[tuple[Load, list[str]]] = field(default_factory=list)

    def missed(self) -> list[tuple[Load, Verdict]]:
        """The goals that do not hold."""
        return [(run.load, verdict) for run in self.measured for verdict in judged(run) if not verdict.holds]


def judged(run: Measured) -> list[Verdict]:
    """The verdicts on one measurement."""
    return verdicts(run.load.processes, ratios(run))


def document(report: Report) -> dict[str, object]:
    """As JSON; `holds` is null until everything asked for was measured."""
    missed = report.missed()
    complete = report.finished is not None and not report.not_run
    return {
        "benchmark": "exporter",
        "version": 1,
        "started": report.started,
        "finished": report.finished,
        "machine": report.machine,
        "versions": dict(report.versions),
        "settings": asdict(report.plan),
        "measurements": [_measurement(run) for run in report.measured],
        "not_run": [{"load": _load(load), "reasons": reasons} for load, reasons in report.not_run],
        "missed": [{"load": _load(load), **_verdict(verdict)} for load, verdict in missed],
        "holds": False if missed else True if complete else None,
    }


def _load(load: Load) -> dict[str, object]:
    return {
        "scenario": load.scenario.value,
        "processes": load.processes,
        "significant": load.significant,
        "threads": load.threads,
        "forks_per_second": load.forks,
    }


def _verdict(verdict: Verdict) -> dict[str, object]:
    return {
        "ratio": verdict.ratio,
        "value": verdict.value,
        **asdict(verdict.goal),
        "holds": verdict.holds,
        "aim_reached": verdict.aim_reached,
    }


def _measurement(run: Measured) -> dict[str, object]:
    return {
        "load": _load(run.load),
        "seconds": run.seconds,
        "tasks_on_node": run.tasks_on_node,
        "forks_per_second_seen": run.forks_per_second,
        "exporters": {
            name: {
                "summary": asdict(summarise(course)),
                "cpu_s": course.cpu_s,
                "scrapes": [asdict(scrape) for scrape in course.scrapes],
            }
            for name, course in run.courses.items()
        },
        "kernel_limit": {"cpu_s": kernel_cpu_s(run), "passes": [asdict(look) for look in run.passes]},
        "ratios": asdict(ratios(run)),
        "verdicts": [_verdict(verdict) for verdict in judged(run)],
    }


def table(run: Measured) -> str:
    """One measurement, for people."""
    summaries = {name: summarise(course) for name, course in run.courses.items()}
    pair = [summaries[name] for name in PAIR]
    rows = [_HEAD, *(_row(name, summary) for name, summary in summaries.items())]
    rows.append(("the pair", _ms(sum(each.cpu_s for each in pair)), _ms(sum(each.scrape_cpu_s for each in pair)),
                 "", "", "", _mib(sum(each.rss_bytes for each in pair)), "", "", ""))  # fmt: skip
    rows.append(("kernel's limit", _ms(kernel_cpu_s(run)), *[""] * (len(_HEAD) - 2)))
    on_node = max(look.processes for look in run.passes)
    title = f"{run.load} ({on_node} on the node), {len(run.passes)} scrapes of each"
    return "\n".join([title, *aligned(rows), *_sentences(run)])


def _sentences(run: Measured) -> list[str]:
    """Each ratio, with its goal where there is one."""
    goals = {verdict.ratio: verdict for verdict in judged(run)}
    found = ratios(run)
    return [
        sentence(goals[ratio]) if ratio in goals else f"{said}: {getattr(found, ratio):.3g}"
        for ratio, said in _SAID.items()
    ]


def sentence(verdict: Verdict) -> str:
    """One goal and how it went."""
    went = "holds" if verdict.holds else "MISSED"
    told = f"{_SAID[verdict.ratio]}: {verdict.value:.3g}, goal {verdict.goal.limit:g}: {went}"
    if verdict.goal.aim is None:
        return told
    return f"{told}, aim {verdict.goal.aim:g}: {'reached' if verdict.aim_reached else 'not reached'}"


def conclusion(report: Report) -> str:
    """What the whole run says, in a few lines."""
    lines = [f"not run: {load}: {'; '.join(reasons)}" for load, reasons in report.not_run]
    missed = report.missed()
    lines += [f"missed: {load}: {sentence(verdict)}" for load, verdict in missed]
    if not missed and report.measured:
        lines.append("all goals hold" if not report.not_run else "all goals hold, of those that could be measured")
    return "\n".join(lines)


def _row(name: str, summary: Summary) -> tuple[str, ...]:
    return (
        f"{name} (ours)" if name == OURS else name,
        _ms(summary.cpu_s),
        _ms(summary.scrape_cpu_s),
        _ms(summary.scrape_cpu_s_p99),
        _ms(summary.latency_s_p50),
        _ms(summary.latency_s_p99),
        _mib(summary.rss_bytes),
        _mib(summary.rss_peak_bytes),
        str(summary.series),
        str(summary.body_bytes),
    )


def _ms(seconds: float) -> str:
    return f"{seconds * _MS:.2f}"


def _mib(size: float) -> str:
    return f"{size / _MIB:.1f}"
