"""What our own Prometheus reads: its configuration, its targets, the shipped rules. Pure but for the shipped rules.

Source: https://prometheus.io/docs/prometheus/latest/configuration/configuration/.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from offloader.config.models import Cluster
from offloader.config.series import CLUSTER_LABEL
from offloader.config.shipped import prometheus_rules
from offloader.config.targets import targets_json
from offloader.config.units import duration_text

__all__ = ["CONTROLLER_JOB", "EXPORTER_JOB", "prometheus_files", "prometheus_snippet"]

EXPORTER_JOB, CONTROLLER_JOB = "grid-exporter", "grid-offloader"
"""As jobs of Prometheus: the label `job` of what they export."""


def prometheus_files(cluster: Cluster, directory: str) -> dict[str, str]:
    """Path on the head → text."""
    rules = {f"{directory}/rules/{path.name}": path.read_text(encoding="utf-8") for path in _rules(cluster)}
    return {
        f"{directory}/prometheus.yml": _yaml(_configuration(cluster, directory)),
        f"{directory}/targets/{EXPORTER_JOB}.json": targets_json(cluster),
        **rules,
    }


def _rules(cluster: Cluster) -> tuple[Path, ...]:
    """The shipped ones, and those that the cluster's own offload rules rely on."""
    named = [Path(name) for name in cluster.prometheus.rule_files if "*" not in name and Path(name).is_file()]
    return tuple({path.name: path for path in (*named, *prometheus_rules())}.values())


def prometheus_snippet(cluster: Cluster, targets_file: str) -> str:
    """For a Prometheus that is there already: what its configuration needs for us, as YAML.

    `targets_file`: where, for Prometheus, the output of `cluster targets` lies.
    """
    every = duration_text(cluster.prometheus.scrape_interval_s)
    timing = {"scrape_interval": every, "scrape_timeout": every}
    document = {
        "rule_files": [str(path) for path in _rules(cluster)],
        "scrape_configs": [{**job, **timing} for job in _scraped(cluster, targets_file)],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _configuration(cluster: Cluster, directory: str) -> dict[str, Any]:
    every = duration_text(cluster.prometheus.scrape_interval_s)
    found: dict[str, Any] = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [f"{directory}/rules/*.yml"],
        "scrape_configs": [
            *_scraped(cluster, f"{directory}/targets/{EXPORTER_JOB}.json"),
            _static(cluster, "prometheus", urlsplit(cluster.prometheus.url).netloc),
        ],
    }
    if cluster.manage.alertmanager:
        listen = cluster.manage.alertmanager_listen
        found["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [listen]}]}]}
        found["scrape_configs"].append(_static(cluster, "alertmanager", listen))
    return found


def _scraped(cluster: Cluster, targets_file: str) -> list[dict[str, Any]]:
    """What is ours to scrape: exporters and controller."""
    return [
        {"job_name": EXPORTER_JOB, "file_sd_configs": [{"files": [targets_file]}]},
        _static(cluster, CONTROLLER_JOB, cluster.controller.listen),
    ]


def _static(cluster: Cluster, job: str, target: str) -> dict[str, Any]:
    """Without a node of its own: the controller's series name those that they tell of."""
    return {"job_name": job, "static_configs": [{"targets": [target], "labels": {CLUSTER_LABEL: cluster.name}}]}


def _yaml(document: dict[str, Any]) -> str:
    """JSON is YAML, and has nothing to quote wrongly."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
