"""`python -m offloader.daemon.reference` writes the pages in docs that the code dictates; `--check` compares.

controller_metrics.md comes from metric_table, reasons.md from the engine's meanings and remedies.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from offloader.config.shipped import shipped
from offloader.daemon.metric_table import METRICS, Declared
from offloader.engine.meanings import MEANINGS
from offloader.engine.remedies import REMEDIES
from offloader.model import Reason

__all__ = ["PAGES", "main", "metrics_page", "reasons_page"]

_METRICS = """\
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
    """Write the pages, or with --check compare. Exit status 1 when one is stale."""
    parser = argparse.ArgumentParser(prog="python -m offloader.daemon.reference", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=shipped("docs"), help="where the pages are")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a page is not up to date")
    options = parser.parse_args(argv)
    stale = 0
    for name, render in PAGES.items():
        page, file = render(), options.folder / name
        if not options.check:
            file.write_text(page, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != page:
            sys.stderr.write(f"{file} is stale: run python -m offloader.daemon.reference\n")
            stale = 1
    return stale


def metrics_page() -> str:
    """Metrics of the controller."""
    rows = "".join(_row(metric) for metric in METRICS.values())
    examples = "".join(f"{metric.example}\n" for metric in METRICS.values() if metric.example)
    return f"{_METRICS}{rows}\n```promql\n{examples}```\n"


def _row(metric: Declared) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |\n"


_REASONS = """\
# Reason codes

Written by `python -m offloader.daemon.reference` from the tables in the code: change those, not this page.

One word for why something is not done, the same in `why`, `scan`, `status`, metrics, logs and the API.
`grid-offloader why PID` says what was seen of a process, and names the command where there is one.

| code | means | what mends it |
| --- | --- | --- |
"""


def reasons_page() -> str:
    """Every reason code."""
    rows = (f"| `{reason.value}` | {MEANINGS[reason]} | {REMEDIES.get(reason, '')} |\n" for reason in Reason)
    return _REASONS + "".join(rows)


PAGES: Mapping[str, Callable[[], str]] = {"controller_metrics.md": metrics_page, "reasons.md": reasons_page}


if __name__ == "__main__":
    sys.exit(main())
