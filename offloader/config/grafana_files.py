"""What Grafana's provisioning needs for a cluster: its Prometheus as data source, the dashboards and where they are.

Source: https://grafana.com/docs/grafana/latest/administration/provisioning/. Pure but for the shipped files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from offloader.config.models import Cluster
from offloader.config.shipped import shipped
from offloader.config.units import duration_text

__all__ = ["grafana_files"]

_NAME = "grid-offloader.yml"


def grafana_files(cluster: Cluster, provisioning: Path, dashboards: Path) -> dict[Path, str]:
    """Path → text: below Grafana's directory `provisioning`, and the dashboards in one of their own."""

    def source(document: dict[str, Any]) -> None:
        (one,) = document["datasources"]
        one["url"] = cluster.prometheus.url
        one["jsonData"]["timeInterval"] = duration_text(cluster.prometheus.scrape_interval_s)

    def provider(document: dict[str, Any]) -> None:
        (one,) = document["providers"]
        one["options"]["path"] = str(dashboards)

    shown = sorted(shipped("grafana", "dashboards").iterdir())
    return {
        provisioning / "datasources" / _NAME: _changed("datasources", source),
        provisioning / "dashboards" / _NAME: _changed("dashboards", provider),
        **{dashboards / file.name: file.read_text("utf-8") for file in shown},
    }


def _changed(kind: str, change: Callable[[dict[str, Any]], None]) -> str:
    document = yaml.safe_load(shipped("grafana", "provisioning", kind, _NAME).read_text("utf-8"))
    change(document)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return f"# Made by `grid-offloader config grafana`.\n{text}"
