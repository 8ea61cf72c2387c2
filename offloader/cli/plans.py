"""The plan that `move --dry-run` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from offloader.cli import render, screens

__all__ = ["show_plan"]

Document = Mapping[str, Any]

_SOURCE = {"tty": "terminal", "null": "/dev/null", None: "?"}
_TARGET = {
    "null": "/dev/null",
    "log": "the job's own log (grid-offloader logs)",
    "file": "the same file",
    "terminal": "the same terminal",
}


def show_plan(plan: Document) -> None:
    """What would be moved, where, why, how, at which cost, with what; then what is in the way."""
    render.show_pairs(
        [
            ("would move" if plan["would_move"] else "cannot move", _what(plan)),
            ("target", f"{plan['target'] or 'none'}: {plan['target_why']}"),
            *(("", _worker(worker)) for worker in plan["targets"]),
            ("strategy", f"{plan['strategy']} by {plan['backend']}"),
            ("needs", f"{render.cores(plan['needs']['cores'])} cores, {render.size(plan['needs']['memory_bytes'])}"),
            ("done again", render.seconds(plan["loses_s"]) if plan["loses_s"] else "nothing"),
            ("processes", _listed(f"{each['name']} ({each['pid']})" for each in plan["members"])),
            ("environment", _environment(plan["environment"])),
            *((name, _stream(stream)) for name, stream in plan["streams"].items()),
            *(("passes over", _obstacle(each)) for each in (*plan["owner_only"], *plan["passes_over"])),
            *(("note", render.clean(note)) for note in plan["notes"]),
            *_obstacles(plan["obstacles"]),
        ]
    )


def _what(plan: Document) -> str:
    return screens.move_words({**plan, "target": plan["target"] or "?"})


def _worker(worker: Document) -> str:
    if worker["obstacles"]:
        return f"{worker['node']}: {_obstacle(worker['obstacles'][0])}"
    with_it = ", ".join(f"{name} {render.percent(ratio)}" for name, ratio in worker["predicted"].items())
    return f"{worker['node']}: {with_it} with it"


def _environment(names: Mapping[str, Sequence[str]]) -> str:
    parts = [f"{len(names['travels'])} variables travel"]
    if names["stays"]:
        parts.append(f"stay here: {_listed(names['stays'])}")
    if names["added"]:
        parts.append(f"added: {_listed(names['added'])}")
    return "; ".join(parts)


def _stream(stream: Document) -> str:
    source = _SOURCE.get(stream["source"], stream["source"])
    return f"{source} -> {_TARGET.get(stream['target'], stream['target'] or '?')}"


def _obstacles(obstacles: Iterable[Document]) -> list[tuple[str, str]]:
    """Two lines each: what was seen, what mends it."""
    pairs = []
    for each in obstacles:
        pairs.append(("in the way", _obstacle(each)))
        if each["remedy"]:
            pairs.append(("", render.clean(each["remedy"])))
    return pairs


def _obstacle(each: Document) -> str:
    return f"{each['reason']}: {render.clean(each['seen'])}"


def _listed(words: Iterable[str]) -> str:
    return render.clean(", ".join(words))
