"""Target files for Prometheus' file_sd: which exporters to scrape, with the labels that rules rely on."""

from __future__ import annotations

import json
from typing import Any

from offloader.config.models import Cluster, Node
from offloader.config.series import CLUSTER_LABEL, NODE_LABEL, ROLE_LABEL

__all__ = ["exporter_target", "targets", "targets_json"]


def exporter_target(node: Node) -> str:
    """address:port of a node's exporter."""
    host = f"[{node.address}]" if ":" in node.address else node.address
    return f"{host}:{node.exporter_port}"


def targets(cluster: Cluster) -> list[dict[str, Any]]:
    """One entry per node (https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config)."""
    return [
        {
            "targets": [exporter_target(node)],
            "labels": {CLUSTER_LABEL: cluster.name, **node.labels, NODE_LABEL: node.name, ROLE_LABEL: node.role.value},
        }
        for node in cluster.nodes
    ]


def targets_json(cluster: Cluster) -> str:
    """The file's text."""
    return json.dumps(targets(cluster), indent=2, ensure_ascii=False) + "\n"
