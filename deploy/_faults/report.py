"""The table of the runs, and the file that an interrupted run goes on from."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from _faults.batch import Result

__all__ = ["append", "as_json", "as_markdown", "read"]

COLUMNS = ("fault", "state", "move ended", "reason", "copies, in order", "runs on", "one copy after", "verdict")


def append(file: Path | None, results: Sequence[Result]) -> None:
    """Add them to the file, one JSON document a line."""
    if file is None:
        return
    with file.open("a", encoding="utf-8") as opened:
        for result in results:
            opened.write(json.dumps(asdict(result)) + "\n")


def read(file: Path | None) -> list[Result]:
    """The newest result of each name; empty when there is no file yet."""
    if file is None or not file.exists():
        return []
    results = [Result(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    return list({result.name: result for result in results}.values())


def as_json(results: Sequence[Result]) -> str:
    """One document."""
    return json.dumps([asdict(result) for result in results], indent=2)


def as_markdown(results: Sequence[Result]) -> str:
    """One table, what broke below it."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(result) for result in results)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    bad = [result for result in results if result.broken]
    lines += ["", f"{len(results)} runs, {len(results) - len(bad)} with every invariant, {len(bad)} without."]
    for result in bad:
        lines += ["", f"**{result.name}** ({result.move}): {result.detail}"]
        lines += [f"- {sentence}" for sentence in result.broken]
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    state = f"{result.state} + {result.delay_s:g} s" if result.delay_s else result.state
    fault = f"{result.fault} (got away)" if result.hit is False else result.fault
    return (
        *(fault, state, result.final or "-", result.reason or ""),
        " → ".join(result.copies),
        ", ".join(result.running) or f"nowhere: {result.job_state}",
        "-" if result.again_s is None else f"{result.again_s:.1f} s",
        "BROKEN" if result.broken else "ok",
    )
