"""One run of the benchmark: every measurement asked for that this machine has room for, told of while it goes on."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from benchmarks.errors import CannotRunError
from benchmarks.exporter import room
from benchmarks.exporter.contenders import version
from benchmarks.exporter.load import Load
from benchmarks.exporter.measure import Plan, Tools, measure
from benchmarks.exporter.report import Report, conclusion, document, table
from benchmarks.machine import describe

STDOUT = "-"


def run(wanted: Sequence[Load], plan: Plan, tools: Tools, output: str | None) -> Report:
    """Measure and tell. The JSON file `output` is written anew after each; raises CannotRunError when it cannot be."""
    report = Report(
        machine=describe(),
        versions={contender.name: version(contender) for contender in tools.contenders},
        plan=plan,
        started=_now(),
    )
    _save(report, output)
    to_people = sys.stderr if output == STDOUT else sys.stdout
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
            _print(table(measured) + "\n", to_people)
        _save(report, output)
    report.finished = _now()
    _save(report, output)
    if output == STDOUT:
        _print(_json(report), sys.stdout)
    _print(conclusion(report), to_people)
    return report


def say(text: str) -> None:
    """Progress, to standard error."""
    _print(f"benchmark: {text}", sys.stderr)


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


def _save(report: Report, output: str | None) -> None:
    if output is None or output == STDOUT:
        return
    try:
        Path(output).write_text(_json(report) + "\n", encoding="utf-8")
    except OSError as error:
        raise CannotRunError(f"cannot write {output}: {error.strerror}") from error


def _json(report: Report) -> str:
    return json.dumps(document(report), indent=1)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _print(text: str, where: TextIO) -> None:
    print(text, file=where, flush=True)
