"""Every query of a dashboard, asked: does it work, and does anything come of it?"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from _check.document import Asked, Document, queries, variables
from _check.prometheus import Failed, Prometheus
from _check.template import Window, filled

__all__ = ["Outcome", "Result", "asked"]

LABEL_VALUES = re.compile(r"label_values\(\s*(?:(?P<selector>.+),)?\s*(?P<label>\w+)\s*\)", re.DOTALL)


class Outcome(StrEnum):
    """What came of a query."""

    GOOD = "ok"
    EMPTY = "EMPTY"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Result:
    """One query as it was asked, and what came of it: so many series, or what Prometheus said."""

    where: str
    expr: str
    outcome: Outcome
    series: int = 0
    said: str = ""


def asked(
    document: Document, prometheus: Prometheus, window: Window, chosen: Mapping[str, Sequence[str]]
) -> Iterator[Result]:
    """Ask all of it: variables first, since the others hold their values.

    Args:
        document: the dashboard.
        prometheus: whom to ask.
        window: the time shown.
        chosen: variable → values that people chose; the others have what they have at first.
    """
    values: dict[str, Sequence[str]] = {}
    for variable in variables(document):
        name = str(variable.get("name"))
        if variable.get("type") != "query":
            values[name] = [str(variable.get("query") or "")]
            continue
        found = _variable(variable, prometheus, window, values)
        yield found[0]
        values[name] = chosen.get(name) or _at_first(variable, found[1])
    for query in queries(document):
        yield _query(query, prometheus, window, values)


def _variable(
    variable: Document, prometheus: Prometheus, window: Window, values: Mapping[str, Sequence[str]]
) -> tuple[Result, list[str]]:
    where, query = f"variable {variable.get('name')}", str(variable.get("query"))
    match = LABEL_VALUES.fullmatch(query)
    if match is None:
        return Result(where, query, Outcome.ERROR, said="this checker knows label_values() only"), []
    try:
        selector = filled(match["selector"] or "", values, window)
        found = prometheus.label_values(match["label"], selector, window)
    except (Failed, KeyError) as error:
        return Result(where, query, Outcome.ERROR, said=_message(error)), []
    return Result(where, query, Outcome.GOOD if found else Outcome.EMPTY, len(found)), found


def _at_first(variable: Document, found: Sequence[str]) -> Sequence[str]:
    if variable.get("includeAll"):
        return [str(variable["allValue"])] if variable.get("allValue") else found or [""]
    return found[:1] or [""]


def _query(query: Asked, prometheus: Prometheus, window: Window, values: Mapping[str, Sequence[str]]) -> Result:
    try:
        stepped = window.at_least(query.interval)
        expr = filled(query.expr, values, stepped)
        series = prometheus.instant(expr, window.end) if query.kind == "instant" else prometheus.over(expr, stepped)
    except (Failed, KeyError, ValueError) as error:
        return Result(query.where, query.expr, Outcome.ERROR, said=_message(error))
    there = [one for one in series if any(not math.isnan(value) for _, value in one.samples)]
    if query.times:
        there = [one for one in there if any(window.start <= value / 1000 <= window.end for _, value in one.samples)]
    if not there:
        return Result(query.where, expr, Outcome.EMPTY)
    if query.named and not any(query.named & one.labels.keys() for one in there):
        return Result(query.where, expr, Outcome.ERROR, len(there), f"no series has a label of {sorted(query.named)}")
    return Result(query.where, expr, Outcome.GOOD, len(there))


def _message(error: Exception) -> str:
    return f"there is no variable {error.args[0]}" if isinstance(error, KeyError) else str(error)
