"""The command: what is checked, and what is printed."""

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from _check import schema, style
from _check.asking import Outcome, Result, asked
from _check.document import Document, read
from _check.prometheus import Prometheus
from _check.template import Window

__all__ = ["main"]

FOLDER = Path(__file__).resolve().parent.parent / "dashboards"


def main(argv: Sequence[str] | None = None) -> int:
    """Check the dashboards against Grafana's published schema, and for what readers need.

    With --prometheus also run every query of every panel, variable and annotation, and print the list.
    Exit status 0 all well, 1 something is wrong, 2 the dashboards cannot be read.
    """
    options = _options(argv)
    try:
        documents = read(options.folder)
    except (OSError, ValueError) as error:
        print(f"grafana/check: {error}", file=sys.stderr)
        return 2
    if not documents:
        print(f"grafana/check: there is no dashboard in {options.folder}", file=sys.stderr)
        return 2
    wrong = list(_faults(documents))
    for fault in wrong:
        print(fault)
    print(f"{len(documents)} dashboards: {len(wrong)} faults")
    failed = _ask(documents, options) if options.prometheus else False
    return int(bool(wrong) or failed)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="grafana/check", description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where the dashboards are")
    parser.add_argument("--prometheus", metavar="URL", help="run every query there")
    parser.add_argument("--window", type=float, default=3600, metavar="S", help="the time shown, until now (3600)")
    parser.add_argument("--scrape-interval", type=float, default=5, metavar="S", help="of that Prometheus (5)")
    parser.add_argument(
        "--choose", action="append", default=[], metavar="VARIABLE=VALUE", help="repeatable; default: all there are"
    )
    parser.add_argument(
        "--may-be-empty",
        action="append",
        default=[],
        metavar="PATTERN",
        help="repeatable: queries that hold this regular expression may yield nothing, as grid_gpu where there "
        "is none, and are listed with it",
    )
    parser.add_argument("--timeout", type=float, default=10, metavar="S", help="for one answer (10)")
    return parser.parse_args(argv)


def _faults(documents: Mapping[str, Document]) -> Iterator[str]:
    for name, document in documents.items():
        for fault in (*schema.faults(document), *style.faults(document)):
            yield f"{name}: {fault}"
    yield from style.together(documents)


def _ask(documents: Mapping[str, Document], options: argparse.Namespace) -> bool:
    """Whether any query failed, or yielded nothing that should."""
    now = time.time()
    window = Window(now - options.window, now, options.scrape_interval)
    prometheus = Prometheus(options.prometheus, options.timeout)
    chosen: dict[str, list[str]] = {}
    for pair in options.choose:
        name, _, value = pair.partition("=")
        chosen.setdefault(name, []).append(value)
    counted: Counter[str] = Counter()
    for name, document in documents.items():
        print(f"\n{name}")
        for result in asked(document, prometheus, window, chosen):
            allowed = _allowed(result, options.may_be_empty)
            word = result.outcome if allowed is None else ALLOWED
            counted[word] += 1
            print(_line(result, word, f"allowed by --may-be-empty {allowed}" if allowed is not None else result.said))
    summary = f"{counted.total()} queries: {counted[Outcome.ERROR]} errors, {counted[Outcome.EMPTY]} empty"
    print(f"\n{summary}" + (f", {counted[ALLOWED]} empty where that was allowed" if counted[ALLOWED] else ""))
    return bool(counted[Outcome.ERROR] or counted[Outcome.EMPTY])


ALLOWED = "none"


def _allowed(result: Result, may_be_empty: Sequence[str]) -> str | None:
    """The pattern by which it may yield nothing, which it does."""
    if result.outcome is not Outcome.EMPTY:
        return None
    return next((pattern for pattern in may_be_empty if re.search(pattern, result.expr)), None)


def _line(result: Result, word: str, why: str) -> str:
    told = f": {why}" if why else ""
    return f"  {word:5} {result.series:4}  {result.where}  {result.expr}{told}"
