"""What all dashboards have in common: variables, annotations, links, times."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from _dashboards import annotations, links, variables

__all__ = ["Section", "framed"]

Section = tuple[str, Sequence[Builder[models.Panel]]]
"""The heading of a row, and its panels from left to right."""


def framed(
    uid: str, title: str, text: str, sections: Sequence[Section], *, role: str = "", since: str = "1h"
) -> dashboard.Dashboard:
    """A dashboard.

    Args:
        uid: by which others link to it, and its file's name.
        title: shown in lists.
        text: what it is for.
        sections: its rows.
        role: whose nodes people choose from; default: all.
        since: how far back it looks at first.
    """
    made = dashboard.Dashboard(title).uid(uid).description(text).tags([links.TAG]).editable()
    made.time(f"now-{since}", "now").refresh("10s").timezone("browser").tooltip(models.DashboardCursorSync.CROSSHAIR)
    made.variables([*variables.chosen(role)]).annotations([*annotations.moves()]).links([*links.elsewhere()])
    for heading, panels in sections:
        made.with_row(dashboard.Row(heading))
        for panel in panels:
            made.with_panel(panel)
    return made
