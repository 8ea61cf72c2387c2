"""Where dashboards lead: to each other, the status page's view of a move, and Ray's dashboard."""

from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

__all__ = ["MOVE_PATH", "TAG", "elsewhere", "to_move", "to_ray_job"]

TAG = "grid-offloader"

MOVE_PATH = "/#"
"""The status page shows the move whose id follows."""


def elsewhere() -> list[dashboard.DashboardLink]:
    """At the top of every dashboard."""
    others = dashboard.DashboardLink("").type(DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True)
    return [
        others.include_vars(True),
        _page("Status page", "${status_page:raw}/", "Pause, approve, move and cancel"),
        _page("Ray", "${ray:raw}/", "Ray's own dashboard"),
    ]


def to_move(label: str = "move") -> list[dict[str, Any]]:
    """Of a column with ids of moves."""
    return [_column("Show this move", f"${{status_page:raw}}{MOVE_PATH}${{__data.fields.{label}}}")]


def to_ray_job(label: str = "submission") -> list[dict[str, Any]]:
    """Of a column with ids of Ray jobs."""
    return [_column("Show this job in Ray", f"${{ray:raw}}/#/jobs/${{__data.fields.{label}}}")]


def _page(title: str, url: str, tooltip: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url).tooltip(tooltip)
    return link.icon("external link").target_blank(True)


def _column(title: str, url: str) -> dict[str, Any]:
    return {"title": title, "url": url, "targetBlank": True}
