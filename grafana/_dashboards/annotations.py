"""Every move as a mark on every graph: where it began, and how it ended."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from _dashboards.links import MOVE_PATH
from _dashboards.promql import ours
from _dashboards.queries import SOURCE

__all__ = ["moves"]

STATUS_PAGE = ours("page_info", 'page="status"')
PAGE = f"on (cluster, instance) group_left (url) {STATUS_PAGE}"
WHO = "{{name}} (pid {{pid}}) of {{user}}"
SHOW = f'<a href="{{{{url}}}}{MOVE_PATH}{{{{move}}}}" target="_blank">{{{{move}}}}</a>'


class _Marks(dashboard.AnnotationQuery, Builder[dashboard.AnnotationQuery]):
    """An annotation as Prometheus' data source reads it: what the published schema leaves open is here.

    The value of each series is the time of its mark, in milliseconds: a move is marked once, at the very moment, and
    whatever the step is (https://grafana.com/docs/grafana/latest/datasources/prometheus/#annotations).
    """

    def __init__(self, name: str, color: str, expr: str, title: str, text: str) -> None:
        super().__init__(name=name, datasource=SOURCE, icon_color=color, expr=f"1000 * {expr} * {PAGE}")
        self._texts = {"titleFormat": title, "textFormat": text}

    def build(self) -> dashboard.AnnotationQuery:
        """Itself."""
        return self

    def to_json(self) -> dict[str, object]:
        """With the data source's own fields."""
        return {
            **super().to_json(),
            "useValueForTime": True,
            "step": "10s",
            "tagKeys": "strategy,source",
            **self._texts,
        }


def moves() -> list[Builder[dashboard.AnnotationQuery]]:
    """Three kinds, which people can switch off one by one."""
    begun = f"max by (cluster, instance, move, pid, name, user, source) ({ours('move_start_timestamp_seconds')})"
    done = ours("move_end_timestamp_seconds", 'outcome="done"')
    other = ours("move_end_timestamp_seconds", 'outcome!="done"')
    return [
        _Marks("Moves that began", "blue", begun, f"Moving {WHO}", f"from {{{{source}}}}: {SHOW}"),
        _Marks("Moves that were done", "green", done, f"Moved {WHO}", f"from {{{{source}}}} to {{{{target}}}}: {SHOW}"),
        _Marks("Moves that failed", "red", other, f"{WHO}: {{{{outcome}}}}", f"on the way to {{{{target}}}}: {SHOW}"),
    ]
