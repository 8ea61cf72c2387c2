"""The command line of the fault matrix."""

import argparse
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from _testbed import bed
from _testbed.errors import TestbedError
from _testbed.settings import load
from _testbed.shell import say

from _faults import course, matrix, random_faults, report
from _faults.batch import Result
from _faults.faults import FAULTS, of
from _faults.matrix import Batch
from _faults.ways import RESTART, STATES, WAYS, Way

__all__ = ["main"]

TOGETHER = 5

EPILOG = """
exit codes:
  0  every invariant held in every run
  1  some did not, or some runs could not be made
  2  wrong usage, or this machine lacks something

It makes a test bed of its own; GRID_TESTBED_NAME [gtfa] and GRID_TESTBED_SUBNET [10.96.0.0/24] say which.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    os.umask(0o022)  # as in deploy/testbed: its accounts read what is made here
    parser = _parser()
    options = parser.parse_args(argv)
    strangers = sorted(set(options.fault) - {fault.name for fault in of(options.strategy)})
    if strangers:
        parser.error(f"moves by {options.strategy} have nothing that these faults could hit: {', '.join(strangers)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both tidy up
    for name, value in {"NAME": "gtfa", "SUBNET": "10.96.0.0/24"}.items():
        os.environ.setdefault(f"GRID_TESTBED_{name}", value)
    try:
        return _run(options)
    except TestbedError as error:
        say(f"deploy/faults: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("deploy/faults: interrupted")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/faults",
        description="Moves on a cluster of three hosts on this machine, hit by a fault in each state of the hand-off. "
        "At no time may two copies run; within 60 s one must again; nothing may be left behind.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    faults = [fault.name for fault in FAULTS]
    parser.add_argument("--strategy", choices=tuple(WAYS), default=RESTART.name, help=f"of the moves [{RESTART.name}]")
    parser.add_argument("--fault", action="append", default=[], choices=faults, help="only this one; repeatable")
    parser.add_argument("--state", action="append", default=[], choices=STATES, help="only this one; repeatable")
    parser.add_argument("--quick", action="store_true", help="a representative part, minutes at most")
    parser.add_argument("--random", type=int, metavar="N", help="N moves under random faults in place of the matrix")
    parser.add_argument("--seed", type=int, default=None, help="of --random [the time]; printed")
    parser.add_argument("--together", type=int, default=TOGETHER, metavar="N", help=f"moves at once [{TOGETHER}]")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="keep results there; what holds there is not rerun")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="hold this lock (flock) during each batch")
    parser.add_argument("--minutes", type=float, metavar="N", help="begin no batch after so long")
    parser.add_argument("--format", choices=("markdown", "json"), default="markdown")
    parser.add_argument("--keep", action="store_true", help="leave the test bed running")
    parser.add_argument("--list", action="store_true", help="print the cells with what is expected, and end")
    return parser


def _run(options: argparse.Namespace) -> int:
    way = WAYS[options.strategy]
    planned = _planned(options, way)
    if options.list:
        for one in planned:
            for case in one.cases:
                undeclared = "" if case.declared else ", undeclared"
                print(f"{one.fault.name:16} {case.state:12} {case.ends.text}{undeclared}")
        return 0
    known = [result for result in report.read(options.resume) if result.name in course.names(planned)]
    with bed.locked(load()):
        new = _carried_out(way, course.still_to_do(planned, known), options)
    newest = {result.name: result for result in [*known, *new]}
    results = [newest[name] for name in course.names(planned) if name in newest]
    print(report.as_json(results) if options.format == "json" else report.as_markdown(results))
    complete = len(results) == len(course.names(planned))
    return 0 if complete and not any(result.broken for result in results) else 1


def _carried_out(way: Way, planned: Sequence[Batch], options: argparse.Namespace) -> list[Result]:
    until = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    try:
        return course.carry_out(way, planned, results=options.resume, lock=options.lock, until=until)
    finally:
        if not options.keep:
            bed.down(load())


def _planned(options: argparse.Namespace, way: Way) -> list[Batch]:
    if options.random is None:
        chosen = matrix.quick(way) if options.quick else matrix.cells(way, options.fault, options.state)
        return matrix.in_batches(way, chosen, options.together)
    seed = int(time.time()) if options.seed is None else options.seed
    drawn = f"--random {options.random} --seed {seed} --together {options.together} --strategy {way.name}"
    say(" ".join(["to repeat this:", drawn, *(f"--fault {fault}" for fault in options.fault)]))
    return random_faults.draw(way, options.random, seed, options.together, options.fault)
