"""What our own Alertmanager reads where nobody gave it a configuration: the shipped routes, with the controller told.

Only a site knows how its people are told: until `manage.alertmanager_config` says so, alerts for people are seen in
Alertmanager and Prometheus alone. Pure but for the shipped file.
Source: https://prometheus.io/docs/alerting/latest/configuration/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from offloader.config.complete import WEBHOOK_TOKEN_NAME
from offloader.config.models import Cluster
from offloader.config.shipped import shipped

__all__ = ["alertmanager_text", "webhook_token_file"]

_CONTROLLER = "grid-offloader"
"""The receiver that is ours; the others are examples."""


def webhook_token_file(cluster: Cluster) -> Path:
    """Where the token of the controller's webhook lies on the head."""
    return cluster.controller.webhook_token_file or cluster.controller.state_dir / WEBHOOK_TOKEN_NAME


def alertmanager_text(cluster: Cluster) -> str:
    """Its configuration; JSON is YAML. The token is named by its file, not in it."""
    document = yaml.safe_load(shipped("deploy", "alerting", "alertmanager.yml").read_text(encoding="utf-8"))
    document["receivers"] = [_receiver(cluster, one) for one in document["receivers"]]
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _receiver(cluster: Cluster, example: dict[str, Any]) -> dict[str, Any]:
    if example["name"] != _CONTROLLER:
        return {"name": example["name"]}
    (webhook,) = example["webhook_configs"]
    authorization = {"type": "Bearer", "credentials_file": str(webhook_token_file(cluster))}
    ours = {
        **webhook,
        "url": f"http://{cluster.controller.listen}/api/v1/alerts",
        "http_config": {"authorization": authorization},
    }
    return {"name": _CONTROLLER, "webhook_configs": [ours]}
