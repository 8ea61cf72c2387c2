"""One run of the benchmark: every size asked for, told of while it goes on."""

import subprocess
from collections.abc import Sequence

from _testbed.errors import TestbedError

from benchmarks.errors import CannotRunError
from benchmarks.live_move.cluster import CRIU, running
from benchmarks.live_move.measure import measure
from benchmarks.live_move.report import Plan, Report, conclusion, document, table
from benchmarks.machine import describe
from benchmarks.output import Output, now, say


def run(sizes: Sequence[int], plan: Plan, output: str | None) -> Report:
    """Measure and tell. The JSON file `output` is written anew after each size; raises CannotRunError."""
    report = Report(machine=describe(), versions={}, plan=plan, started=now())
    to = Output(output)
    to.save(document(report))
    with running() as cluster:
        report.versions = _versions()
        for size in sizes:
            try:
                measured = measure(cluster, size, plan, say)
            except (CannotRunError, TestbedError, subprocess.SubprocessError) as error:
                report.not_run.append((size, str(error)))
                say(f"{size} MiB: {error}")
            else:
                report.measured.append(measured)
                to.tell(table(measured) + "\n")
            to.save(document(report))
    report.finished = now()
    to.end(document(report))
    to.tell(conclusion(report))
    return report


def _versions() -> dict[str, str]:
    """What the programs say of themselves that are used by hand."""
    asked = {"criu": [str(CRIU), "--version"], "ssh": ["ssh", "-V"], "rsync": ["rsync", "--version"],
             "tar": ["tar", "--version"]}  # fmt: skip
    return {name: _first_line(command) for name, command in asked.items()}


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CannotRunError(f"{command[0]} not found: run deploy/setup") from error
    return next(iter((done.stdout + done.stderr).splitlines()), "unknown")
