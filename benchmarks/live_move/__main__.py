"""`python -m benchmarks.live_move`: options → a run → exit status."""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.command import (
    EXIT_CANNOT,
    EXIT_INTERRUPTED,
    EXIT_MISSED,
    EXIT_STATUSES,
    count,
    seconds,
    tidy_up_when_told_to_end,
)
from benchmarks.errors import CannotRunError
from benchmarks.live_move.report import Plan
from benchmarks.machine import PROJECT
from benchmarks.output import STDOUT, say

sys.path.insert(0, str(PROJECT / "deploy"))  # the test bed is no part of any package

from benchmarks.live_move.session import run

_SIZES = (200, 1024)
_FULL = Plan(rounds=5, rest_s=5.0)
_QUICK = Plan(rounds=1, rest_s=2.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and report. Exit status: see --help."""
    options = _parser().parse_args(argv)
    tidy_up_when_told_to_end()
    try:
        report = run(options.mebibytes or _SIZES, _plan(options), options.json)
    except CannotRunError as error:
        say(f"cannot run: {error}")
        return EXIT_CANNOT
    except KeyboardInterrupt:
        say("interrupted; what was started has ended")
        return EXIT_INTERRUPTED
    if report.missed():
        return EXIT_MISSED
    return EXIT_CANNOT if report.not_run else 0


def _plan(options: argparse.Namespace) -> Plan:
    usual = _QUICK if options.quick else _FULL
    return Plan(
        rounds=usual.rounds if options.rounds is None else options.rounds,
        rest_s=usual.rest_s if options.rest is None else options.rest,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live_move",
        description="How long a program stands still in a live move, beside the same steps done by hand with criu and "
        "the best of page server, tar and rsync. It makes a cluster on this machine (the test bed) and needs root. "
        "What is measured, and the JSON: benchmarks/README.md.",
        epilog=EXIT_STATUSES,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--json", metavar="PATH", nargs="?", const=STDOUT,
        help="write all figures there; to standard output without PATH or with - (the table goes to standard "
        "error then)")  # fmt: skip
    add("--mebibytes", metavar="N", nargs="+", type=count,
        help=f"memory of the programs (default {' '.join(map(str, _SIZES))})")  # fmt: skip
    add("--rounds", metavar="N", type=count, help=f"how often each way is gone (default {_FULL.rounds})")
    add("--rest", metavar="SECONDS", type=seconds, help=f"rest before each stop (default {_FULL.rest_s:g})")
    add("--quick", action="store_true",
        help=f"a rough look: {_QUICK.rounds} round, rests of {_QUICK.rest_s:g} s, unless other options say "
        "otherwise")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
