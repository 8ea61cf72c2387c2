"""One run of the benchmark: every measurement asked for that this machine has room for, told of while it goes on."""

from collections.abc import Sequence

from benchmarks.errors import CannotRunError
from benchmarks.exporter import room
from benchmarks.exporter.contenders import version
from benchmarks.exporter.load import Load
from benchmarks.exporter.measure import Plan, Tools, measure
from benchmarks.exporter.report import Report, conclusion, document, table
from benchmarks.machine import describe
from benchmarks.output import Output, now, say


def run(wanted: Sequence[Load], plan: Plan, tools: Tools, output: str | None) -> Report:
    """Measure and tell. The JSON file `output` is written anew after each; raises CannotRunError when it cannot be."""
    report = Report(
        machine=describe(),
        versions={contender.name: version(contender) for contender in tools.contenders},
        plan=plan,
        started=now(),
    )
    to = Output(output)
    to.save(document(report))
    loads = _that_fit(wanted, report)
    say(f"measurements: {len(loads)}, {len(loads) * plan.seconds() / 60:.0f} minutes or so")
    for load in loads:
        try:
            measured = measure(load, plan, tools, say)
        except CannotRunError as error:
            report.not_run.append((load, [str(error)]))
            say(f"{load}: {error}")
        else:
            report.measured.append(measured)
            to.tell(table(measured) + "\n")
        to.save(document(report))
    report.finished = now()
    to.end(document(report))
    to.tell(conclusion(report))
    return report


def _that_fit(wanted: Sequence[Load], report: Report) -> list[Load]:
    """Those for which there is room; the others are told of at once, and in the report."""
    here = room.look()
    loads = []
    for load in wanted:
        if reasons := room.obstacles(load, here):
            report.not_run.append((load, reasons))
            say(f"{load}: will not be run: {'; '.join(reasons)}")
        else:
            loads.append(load)
    return loads
