"""What is told of the measurements: a JSON document (report.schema.json) and a table. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from benchmarks.live_move.summary import GOAL, Measured
from benchmarks.live_move.ways import Way
from benchmarks.machine import Machine
from benchmarks.table import aligned


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each way is gone for each size, and seconds for which everything rests before a program is stopped."""

    rounds: int
    rest_s: float


@dataclass(slots=True)
class Report:
    """All that one run of the benchmark found so far. `not_run`: sizes (MiB) that it could not measure, and why."""

    machine: Machine
    versions: Mapping[str, str]
    plan: Plan
    started: str
    finished: str | None = None
    measured: list[Measured] = field(default_factory=list)
    not_run: list[tuple[int, str]] = field(default_factory=list)

    def missed(self) -> list[Measured]:
        """Where the goal does not hold."""
        return [run for run in self.measured if not run.holds]


def document(report: Report) -> dict[str, object]:
    """As JSON; `holds` is null until everything asked for was measured."""
    missed = report.missed()
    complete = report.finished is not None and not report.not_run
    return {
        "benchmark": "live_move",
        "version": 1,
        "started": report.started,
        "finished": report.finished,
        "machine": report.machine,
        "versions": dict(report.versions),
        "settings": asdict(report.plan),
        "measurements": [_measurement(run) for run in report.measured],
        "not_run": [{"mebibytes": size, "reason": reason} for size, reason in report.not_run],
        "missed": [run.mebibytes for run in missed],
        "holds": False if missed else True if complete else None,
    }


def _measurement(run: Measured) -> dict[str, object]:
    return {
        "mebibytes": run.mebibytes,
        "seconds": run.seconds,
        "ways": {way.value: {"median_s": run.median_s(way), "stops": _stops(run, way)} for way in run.stops},
        "steps_s": run.steps_s(),
        "best_by_hand": run.best_by_hand.value,
        "ratio": run.ratio,
        "goal": GOAL,
        "holds": run.holds,
    }


def _stops(run: Measured, way: Way) -> list[dict[str, object]]:
    return [
        {"stood_still_s": stop.stood_still_s, **({"steps_s": dict(stop.steps_s)} if way is Way.OURS else {})}
        for stop in run.stops[way]
    ]


def table(run: Measured) -> str:
    """One size, for people."""
    rows = [("", "median s", "least", "most"), *(_row(run, way) for way in run.stops)]
    title = f"{run.mebibytes} MiB, stopped {len(run.stops[Way.OURS])} times in each way"
    steps = ", ".join(f"{name} {seconds:.3f}" for name, seconds in run.steps_s().items())
    return "\n".join([title, *aligned(rows), f"of ours, by the state of the move: {steps}", sentence(run)])


def _row(run: Measured, way: Way) -> tuple[str, ...]:
    stops = [stop.stood_still_s for stop in run.stops[way]]
    return (way.value, *(f"{seconds:.3f}" for seconds in (run.median_s(way), min(stops), max(stops))))


def sentence(run: Measured) -> str:
    """The goal and how it went."""
    went = "holds" if run.holds else "MISSED"
    return f"ours to {run.best_by_hand}: {run.ratio:.3g}, goal {GOAL:g}: {went}"


def conclusion(report: Report) -> str:
    """What the whole run says, in a few lines."""
    lines = [f"not run: {size} MiB: {reason}" for size, reason in report.not_run]
    missed = report.missed()
    lines += [f"missed: {run.mebibytes} MiB: {sentence(run)}" for run in missed]
    if not missed and report.measured:
        lines.append("all goals hold" if not report.not_run else "all goals hold, of those that could be measured")
    return "\n".join(lines)
