"""Queries of panels."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models import prometheus as model

__all__ = ["SOURCE", "columns", "last", "over_time"]

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")


def over_time(*asked: tuple[str, str]) -> list[prometheus.Dataquery]:
    """Lines: (PromQL, legend) each, named A, B, … in their order."""
    return [
        _query(ref, expr).range().legend_format(legend) for ref, (expr, legend) in zip(_refs(), asked, strict=False)
    ]


def last(*asked: tuple[str, str]) -> list[prometheus.Dataquery]:
    """Present values: (PromQL, legend) each, named A, B, … in their order."""
    made = zip(_refs(), asked, strict=False)
    return [_query(ref, expr).instant().legend_format(legend) for ref, (expr, legend) in made]


def columns(*asked: str) -> list[prometheus.Dataquery]:
    """Columns of a table: labels as they are, and a value each, called `Value #A`, `Value #B`, …, or just `Value`."""
    made = zip(_refs(), asked, strict=False)
    return [_query(ref, expr).instant().format(model.PromQueryFormat.TABLE) for ref, expr in made]


def _query(ref: str, expr: str) -> prometheus.Dataquery:
    code = model.QueryEditorMode.CODE
    return prometheus.Dataquery().ref_id(ref).datasource(SOURCE).editor_mode(code).expr(expr)


def _refs() -> Sequence[str]:
    return [chr(code) for code in range(ord("A"), ord("Z") + 1)]
