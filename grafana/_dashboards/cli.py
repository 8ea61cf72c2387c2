"""Writing the dashboards, or telling whether those that are there are what the code says."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from _dashboards.documents import documents

__all__ = ["main"]

FOLDER = Path(__file__).resolve().parent.parent / "dashboards"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the dashboards, or with --check compare. Exit status 1 when one is stale."""
    parser = argparse.ArgumentParser(prog="grafana/build", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where they are")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when one is not up to date")
    options = parser.parse_args(argv)
    stale = 0
    for name, text in documents().items():
        file = options.folder / name
        if not options.check:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            print(f"{file} is stale: run grafana/build", file=sys.stderr)
            stale = 1
    return stale
