"""`python -m benchmarks.exporter`: options → a run → exit status."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import (
    EXIT_CANNOT,
    EXIT_INTERRUPTED,
    EXIT_MISSED,
    EXIT_STATUSES,
    count,
    number,
    seconds,
    tidy_up_when_told_to_end,
)
from benchmarks.errors import CannotRunError
from benchmarks.exporter.contenders import UNPACKED, contenders
from benchmarks.exporter.load import Load, Scenario
from benchmarks.exporter.measure import Plan, Tools
from benchmarks.exporter.programs import compiled, require
from benchmarks.exporter.session import run
from benchmarks.output import say

_FULL = Plan(scrapes=40, warm_up=5, pause_s=1.0)
_FULL_PROCESSES = (100, 1000, 5000)
_QUICK = Plan(scrapes=5, warm_up=1, pause_s=0.2)
_QUICK_PROCESSES = (100,)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and report. Exit status: see --help."""
    options = _parser().parse_args(argv)
    tidy_up_when_told_to_end()
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            report = run(_loads(options), _plan(options), _tools(Path(folder), options.exporters), options.json)
    except CannotRunError as error:
        say(f"cannot run: {error}")
        return EXIT_CANNOT
    except KeyboardInterrupt:
        say("interrupted; what was started has ended")
        return EXIT_INTERRUPTED
    if report.missed():
        return EXIT_MISSED
    return EXIT_CANNOT if report.not_run else 0


def _loads(options: argparse.Namespace) -> list[Load]:
    numbers = options.processes or (_QUICK_PROCESSES if options.quick else _FULL_PROCESSES)
    scenarios = [Scenario(name) for name in options.only or Scenario]
    return [Load(scenario, processes) for scenario in scenarios for processes in numbers]


def _plan(options: argparse.Namespace) -> Plan:
    usual = _QUICK if options.quick else _FULL
    return Plan(
        scrapes=usual.scrapes if options.scrapes is None else options.scrapes,
        warm_up=usual.warm_up if options.warm_up is None else options.warm_up,
        pause_s=usual.pause_s if options.pause is None else options.pause,
    )


def _tools(folder: Path, exporters: Path) -> Tools:
    require("gcc", "setpriv")
    found = contenders(folder, exporters)
    return Tools(compiled("load", folder), compiled("kernel_limit", folder), found, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exporter",
        description="CPU time, memory and latency of a scrape of grid-exporter, beside node_exporter and "
        "process-exporter and the kernel's limit, with many processes on the node. What is measured, and the JSON: "
        "benchmarks/README.md.",
        epilog=EXIT_STATUSES,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--json", metavar="PATH",
        help="write all figures there; - is standard output (the table goes to standard error then)")  # fmt: skip
    add("--only", metavar="SCENARIO", action="append", choices=[scenario.value for scenario in Scenario],
        help=f"{', '.join(Scenario)}; may be given several times (default all)")  # fmt: skip
    add("--processes", metavar="N", nargs="+", type=count,
        help=f"how many sleeping processes (default {_spaced(_FULL_PROCESSES)})")  # fmt: skip
    add("--scrapes", metavar="N", type=count, help=f"scrapes of each exporter (default {_FULL.scrapes})")
    add("--warm-up", metavar="N", type=number, help=f"scrapes before those (default {_FULL.warm_up})")
    add("--pause", metavar="SECONDS", type=seconds, help=f"rest before each scrape (default {_FULL.pause_s:g})")
    add("--quick", action="store_true",
        help=f"a rough look: {_spaced(_QUICK_PROCESSES)} processes, {_QUICK.scrapes} scrapes, pauses of "
        f"{_QUICK.pause_s:g} s, unless other options say otherwise")  # fmt: skip
    add("--exporters", metavar="DIR", type=Path, default=UNPACKED,
        help="where prometheus-node-exporter and prometheus-process-exporter are (default where deploy/setup unpacks "
        "them)")  # fmt: skip
    return parser


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


if __name__ == "__main__":
    sys.exit(main())
