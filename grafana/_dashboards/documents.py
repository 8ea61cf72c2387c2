"""Dashboards as the JSON that Grafana reads."""

import json
from collections.abc import Mapping

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from _dashboards import head, health, jobs, moves, workers

__all__ = ["DASHBOARDS", "documents"]

DASHBOARDS = (head.dashboard, workers.dashboard, moves.dashboard, jobs.dashboard, health.dashboard)


def documents() -> Mapping[str, str]:
    """File name → text, one for each dashboard."""
    built = [_numbered(make()) for make in DASHBOARDS]
    return {f"{one.uid}.json": json.dumps(one, cls=JSONEncoder, indent=2, sort_keys=True) + "\n" for one in built}


def _numbered(builder: builders.Dashboard) -> models.Dashboard:
    """With ids, so that links to single panels stay what they are while none is added before them."""
    made = builder.build()
    for number, panel in enumerate(made.panels or [], start=1):
        panel.id_val = number
    return made
