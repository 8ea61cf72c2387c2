"""Tables: one row for each process, move, job or node, joined from several queries by their common labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from _dashboards.panels import framed, words
from _dashboards.queries import columns

__all__ = ["Column", "rows"]

NEVER_SHOWN = ("Time", "__name__", "job", "instance", "cluster", "role")


@dataclass(frozen=True)
class Column:
    """A value: its heading, its unit, and what else is said of it.

    `words`: value → (word, color). `filled`: as a bar from 0 to 1. Without a heading only its labels are shown.
    """

    heading: str = ""
    unit: str = "none"
    words: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    filled: bool = False

    def properties(self) -> list[DynamicConfigValue]:
        """As overrides of the panel's own."""
        made = [DynamicConfigValue("unit", self.unit)]
        if self.words:
            made += [DynamicConfigValue("mappings", words(self.words)), _cell("color-text")]
        if self.filled:
            made += [DynamicConfigValue("min", 0), DynamicConfigValue("max", 1), _cell("gauge", mode="basic")]
        return made


def rows(
    title: str,
    text: str,
    asked: Mapping[str, Column],
    *,
    labels: Sequence[str],
    links: Mapping[str, list[dict[str, Any]]] | None = None,
    sort: str = "",
    ascending: bool = False,
    width: int = 24,
    height: int = 8,
) -> table.Panel:
    """A table.

    Args:
        title: of the panel.
        text: what it shows.
        asked: PromQL → the column of its values; their labels are joined.
        labels: which are shown, before the values, in this order.
        links: label → where its cells lead.
        sort: heading of the column by which rows are sorted at first, the largest value on top.
        ascending: the smallest value on top.
        width: in 24ths of the dashboard's.
        height: in its rows.
    """
    panel = framed(table.Panel(), title, text, "none", width=width, height=height).targets([*columns(*asked)])
    values = ["Value"] if len(asked) == 1 else [f"Value #{chr(ord('A') + index)}" for index in range(len(asked))]
    shown = dict(zip(values, asked.values(), strict=True))
    # So it is also called where one of several queries alone found anything, which is the first one: the others add
    # to its rows (https://github.com/grafana/grafana/issues/57855).
    shown.setdefault("Value", shown[values[0]])
    hidden = [value for value, column in shown.items() if not column.heading]
    headings = {value: column.heading for value, column in shown.items() if column.heading}
    if len(asked) > 1:
        panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    order = {name: index for index, name in enumerate((*labels, *shown))}
    arranged = {
        "excludeByName": dict.fromkeys((*NEVER_SHOWN, *hidden), True),
        "indexByName": order,
        "renameByName": headings,
    }
    panel.with_transformation(DataTransformerConfig(id_val="organize", options=arranged))
    for column in (one for one in asked.values() if one.heading):
        panel.override_by_name(column.heading, column.properties())
    for label, leads in (links or {}).items():
        panel.override_by_name(label, [DynamicConfigValue("links", leads)])
    if sort:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(not ascending)])
    return panel.filterable(True)


def _cell(kind: str, **options: Any) -> DynamicConfigValue:
    return DynamicConfigValue("custom.cellOptions", {"type": kind, **options})
