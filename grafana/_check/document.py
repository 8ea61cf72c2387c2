"""Dashboards as they are in files: what is asked in them, and where."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["Asked", "Document", "annotations", "panels", "queries", "read", "variables"]

Document = dict[str, Any]

LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Asked:
    """One query. `where` names it for people; `kind` says how Grafana sends it; `named` are the labels in its legend.

    Its step is not below `interval`. An annotation's values are times in milliseconds where `times` is set.
    """

    where: str
    expr: str
    kind: Literal["instant", "range"]
    named: frozenset[str] = frozenset()
    interval: str = ""
    times: bool = False


def read(folder: Path) -> Mapping[str, Document]:
    """File name → dashboard. Raises OSError, and ValueError for what is no JSON object."""
    found = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}
    for name, document in found.items():
        if not isinstance(document, dict):
            raise ValueError(f"{name} is no dashboard")  # noqa: TRY004 -- a fault of the file, as broken JSON is
    return found


def panels(document: Document) -> Iterator[Document]:
    """All of them, those of collapsed rows too; rows themselves are none."""
    for panel in document.get("panels") or ():
        if panel.get("type") == "row":
            yield from panel.get("panels") or ()
        else:
            yield panel


def variables(document: Document) -> list[Document]:
    """Its variables, in the order in which they depend on each other."""
    return list((document.get("templating") or {}).get("list") or ())


def annotations(document: Document) -> list[Document]:
    """Its annotations of Prometheus."""
    every = (document.get("annotations") or {}).get("list") or ()
    return [one for one in every if (one.get("datasource") or {}).get("type") == "prometheus"]


def queries(document: Document) -> Iterator[Asked]:
    """Of panels and annotations, as they are written; those of variables yield values and are asked first."""
    for panel in panels(document):
        for target in panel.get("targets") or ():
            where, expr = f"{panel.get('title')} {target.get('refId')}", str(target.get("expr", ""))
            kind: Literal["instant", "range"] = "instant" if target.get("instant") else "range"
            interval = str(target.get("interval") or panel.get("interval") or "")
            yield Asked(where, expr, kind, _labels(target.get("legendFormat")), interval)
    for one in annotations(document):
        where, expr = f"annotation {one.get('name')}", str(one.get("expr", ""))
        named, times = _labels(one.get("titleFormat"), one.get("textFormat")), bool(one.get("useValueForTime"))
        yield Asked(where, expr, "range", named, str(one.get("step") or "60s"), times)


def _labels(*texts: str | None) -> frozenset[str]:
    return frozenset(name for text in texts for name in LABEL.findall(text or ""))
