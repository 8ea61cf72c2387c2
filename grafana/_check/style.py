"""What the schema cannot tell: what readers need, what Grafana gave up, and what would not fit together."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from _check.document import Document, annotations, panels, variables

__all__ = ["faults", "together"]

DEPRECATED = {
    "graph": "timeseries",
    "singlestat": "stat",
    "table-old": "table",
    "grafana-piechart-panel": "piechart",
    "grafana-worldmap-panel": "geomap",
    "grafana-singlestat-panel": "stat",
    "natel-discrete-panel": "state-timeline",
}
"""Panel types that Grafana removed with AngularJS, and what took their place.

https://grafana.com/docs/grafana/latest/developers/angular_deprecation/angular-plugins/
"""

BUILT_IN = re.compile(r"__\w+")
VARIABLE = re.compile(r"\$(?:\{([\w.]+)(?:\[[^\]]*\])?(?::[\w:]+)?\}|(\w+))|\[\[(\w+)\]\]")
COLUMNS = 24
LONGEST_UID = 40


def faults(document: Document) -> Iterator[str]:
    """Of one dashboard, by itself."""
    yield from _named(document, "the dashboard")
    uid = document.get("uid")
    if not isinstance(uid, str) or not 0 < len(uid) <= LONGEST_UID:
        yield f"the dashboard: its uid must have 1 to {LONGEST_UID} characters"
    for panel in panels(document):
        yield from (f"{panel.get('title') or panel.get('id')}: {fault}" for fault in _panel(panel))
    yield from _twice("panel id", [panel.get("id") for panel in document.get("panels") or ()])
    yield from _overlapping(document)
    for one in annotations(document):
        if not one.get("titleFormat") or not one.get("expr"):
            yield f"annotation {one.get('name')}: it needs a query and a title"
    yield from _used(document)


def together(documents: Mapping[str, Document]) -> Iterator[str]:
    """Of all of them: uids are used once, and links between them lead somewhere."""
    uids = [document.get("uid") for document in documents.values()]
    yield from _twice("uid", uids)
    for name, document in documents.items():
        for uid in re.findall(r'"/?d/([\w-]+)', json.dumps(document)):
            if uid not in uids:
                yield f"{name}: no dashboard has the uid {uid!r}"


def _panel(panel: Document) -> Iterator[str]:
    yield from _named(panel, "the panel")
    kind = str(panel.get("type"))
    if kind in DEPRECATED:
        yield f"panels of type {kind} are deprecated; use {DEPRECATED[kind]}"
    targets = panel.get("targets") or []
    unit = ((panel.get("fieldConfig") or {}).get("defaults") or {}).get("unit")
    if targets and not unit:
        yield "no unit"
    yield from _twice("query", [target.get("refId") for target in targets])
    for part in (panel, *targets):
        uid = (part.get("datasource") or {}).get("uid")
        if targets and uid != "${datasource}":
            yield f"the data source must be the one that people chose, not {uid!r}"


def _named(thing: Document, what: str) -> Iterator[str]:
    for key in ("title", "description"):
        if not str(thing.get(key) or "").strip():
            yield f"{what}: no {key}"


def _twice(what: str, names: list[Any]) -> Iterator[str]:
    yield from (f"{what} {name!r} is there {count} times" for name, count in Counter(names).items() if count > 1)


def _overlapping(document: Document) -> Iterator[str]:
    placed = [(panel.get("title"), panel["gridPos"]) for panel in document.get("panels") or () if "gridPos" in panel]
    for title, at in placed:
        if at["x"] + at["w"] > COLUMNS:
            yield f"{title}: wider than the dashboard"
    for (title, one), (other, two) in combinations(placed, 2):
        if _meet(one, two, "x", "w") and _meet(one, two, "y", "h"):
            yield f"{title}: lies over {other}"


def _meet(one: Document, two: Document, start: str, length: str) -> bool:
    return bool(one[start] < two[start] + two[length] and two[start] < one[start] + one[length])


def _used(document: Document) -> Iterator[str]:
    """Every variable that is used is there, and every one that is there is used."""
    known = {str(variable.get("name")) for variable in variables(document)}
    text = json.dumps(document)
    used = {next(name for name in found if name).partition(".")[0] for found in VARIABLE.findall(text)}
    yield from (f"there is no variable {name}" for name in sorted(used - known) if not BUILT_IN.match(name))
    yield from (f"nothing uses the variable {name}" for name in sorted(known - used))
