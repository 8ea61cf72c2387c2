"""The command line of the protocol's model."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from _model.cases import WHOLE, WITHOUT, Case
from _model.explore import Exploration
from _model.world import SAFEGUARDS

__all__ = ["main"]

EPILOG = """
exit codes:
  0  the protocol holds; with --without or --each: each safeguard taken out was missed
  1  it does not; or a safeguard could be taken out and nothing happened
  2  wrong usage
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Explore what is asked for; returns the exit code."""
    options = _parser().parse_args(argv)
    cases = WITHOUT if options.each else [case for case in WITHOUT if case.without in options.without] or WHOLE
    rows = [_row(case) for case in cases]
    print(json.dumps(rows, indent=2) if options.format == "json" else "\n".join(map(_told, rows)))
    return 0 if all(row["ok"] for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/model",
        description="Every state of the hand-off's protocol: crashes of everything at every step, messages that are "
        "late, lost or out of order. In none may two copies execute, and each must have a way out. docs/protocol.md "
        "says what is modelled.",
        epilog=EPILOG + "\nsafeguards:\n" + "\n".join(f"  {name:21} {text}" for name, text in SAFEGUARDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--without", action="append", default=[], choices=SAFEGUARDS, metavar="SAFEGUARD",
        help="take this one out, and print the shortest way to what goes wrong then; repeatable",
    )  # fmt: skip
    which.add_argument("--each", action="store_true", help="so with each safeguard")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser


def _row(case: Case) -> dict[str, Any]:
    print(f"exploring {case.name}: {case.text} …", file=sys.stderr)
    began = time.monotonic()
    found = case.explored()
    return {
        "case": case.name,
        "text": case.text,
        "without": case.without or None,
        "states": found.states,
        "steps": found.steps,
        "seconds": round(time.monotonic() - began, 1),
        "violation": found.violation or None,
        "trace": found.trace,
        "stuck": len(found.stuck),
        "ok": _ok(case, found),
    }


def _ok(case: Case, found: Exploration) -> bool:
    if case.without:
        return bool(found.violation)
    return not found.violation and not found.stuck


def _told(row: dict[str, Any]) -> str:
    size = f"{row['states']} states, {row['steps']} steps, {row['seconds']} s"
    if row["without"] is None:
        verdict = row["violation"] or f"never two copies; {row['stuck'] or 'none'} without a way out"
        head = f"{row['case']}: {verdict} ({size})"
    elif row["violation"]:
        head = f"without {row['case']} ({row['text']}): {row['violation']} ({size})"
    else:
        head = f"without {row['case']} ({row['text']}): NOTHING HAPPENED ({size})"
    return "\n".join([head, *(f"  {number:2} {what}" for number, what in enumerate(row["trace"], 1))])
