"""`python -m offloader.daemon.reference` writes docs/controller_metrics.md from metric_table; `--check` compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from offloader.config.shipped import shipped
from offloader.daemon.metric_table import METRICS, Declared

__all__ = ["main", "render"]

_INTRODUCTION = """\
# Metrics of the controller

Written by `python -m offloader.daemon.reference` from the declarations in the code: change those, not this page.

`grid-offloader serve` answers `/metrics` at `controller.listen` (127.0.0.1:9778); scrape it as job `grid-offloader`.
Besides these it exports `process_*` of its own process. `rule` is GROUP/NAME; `reason` is a reason code as `scan` and
`status` show it; `state` of a rule: [engine.md](engine.md), of a move: [architecture.md](architecture.md).
Metrics of the exporter: [metrics.md](metrics.md). Recorded `grid:*` series: [rules.md](rules.md).

| metric | type | unit | labels | meaning |
| --- | --- | --- | --- | --- |
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or with --check compare. Exit status 1 when it is stale."""
    parser = argparse.ArgumentParser(prog="python -m offloader.daemon.reference", description=main.__doc__)
    parser.add_argument("--output", type=Path, default=shipped("docs", "controller_metrics.md"), help="the page")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the page is not up to date")
    options = parser.parse_args(argv)
    page = render()
    if not options.check:
        options.output.write_text(page, encoding="utf-8")
        return 0
    if options.output.is_file() and options.output.read_text(encoding="utf-8") == page:
        return 0
    sys.stderr.write(f"{options.output} is stale: run python -m offloader.daemon.reference\n")
    return 1


def render() -> str:
    """The page."""
    rows = "".join(_row(metric) for metric in METRICS.values())
    examples = "".join(f"{metric.example}\n" for metric in METRICS.values() if metric.example)
    return f"{_INTRODUCTION}{rows}\n```promql\n{examples}```\n"


def _row(metric: Declared) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |\n"


if __name__ == "__main__":
    sys.exit(main())
