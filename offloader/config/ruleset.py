"""The offload rules of a cluster: which files, what they inherit, what they are checked against."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from offloader.config import series
from offloader.config.load import recording_files, rule_files
from offloader.config.models import Cluster
from offloader.config.policy import thresholds
from offloader.config.problems import raise_for
from offloader.config.promql import SyntaxCheck, look_back, parse
from offloader.config.recording import read_recording_rules
from offloader.config.rule_defaults import BACKENDS, RuleDefaults
from offloader.config.rules import RuleReport, check_rules, log_warnings
from offloader.model import Resource, Rule

__all__ = ["check_cluster_rules", "load_cluster_rules", "pressure_look_backs", "rule_defaults"]


def rule_defaults(cluster: Cluster, backends: Collection[str] | None = BACKENDS) -> RuleDefaults:
    """What the rules of this cluster inherit. `backends`: names of those that there are."""
    return RuleDefaults(
        scrape_interval_s=cluster.prometheus.scrape_interval_s,
        interval_s=cluster.auto_offload.check_interval_s,
        cooldown_s=cluster.auto_offload.cooldown_s,
        thresholds=thresholds(cluster),
        workers=frozenset(node.name for node in cluster.workers),
        head=cluster.head.name,
        backends=backends,
        webhook=cluster.controller.webhook_token_file is not None,
    )


def check_cluster_rules(
    cluster: Cluster,
    base: Path,
    *,
    files: Sequence[Path] = (),
    backends: Collection[str] | None = BACKENDS,
    syntax: SyntaxCheck | None = None,
) -> RuleReport:
    """Everything about the cluster's rules, or about these files for this cluster.

    `base` is the directory of the cluster file. Raises ConfigError for files that cannot be parsed at all.
    """
    paths = tuple(files) or rule_files(cluster, base)
    defaults = rule_defaults(cluster, backends)
    return check_rules(paths, defaults, recording_files=recording_files(cluster, base), syntax=syntax)


def load_cluster_rules(
    cluster: Cluster, base: Path, *, backends: Collection[str] | None = BACKENDS
) -> tuple[Rule, ...]:
    """The cluster's rules; warnings go to the log. Raises ConfigError with every problem of every file."""
    report = check_cluster_rules(cluster, base, backends=backends)
    raise_for(report.problems)
    log_warnings(report)
    return report.rules


def pressure_look_backs(cluster: Cluster, base: Path) -> dict[Resource, float]:
    """How far back a node's pressure looks, seconds, by resource; absent where no recording rule of it is found."""
    recorded, _ = read_recording_rules(recording_files(cluster, base))
    found = {
        resource: look_back(parse(f'{series.PRESSURE}{{{series.RESOURCE_LABEL}="{resource}"}}'), recorded)
        for resource in Resource
    }
    return {resource: back.longest_s for resource, back in found.items() if not back.unknown}
