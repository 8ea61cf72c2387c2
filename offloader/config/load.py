"""Finding, reading and checking the cluster file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from offloader import places
from offloader.config.complete import complete
from offloader.config.crosscheck import crosscheck, expand
from offloader.config.document import Document, read_document
from offloader.config.models import Cluster
from offloader.config.problems import Problem, raise_for
from offloader.config.validate import validate
from offloader.errors import ConfigError

__all__ = ["ClusterReport", "check_cluster", "find_config", "load_cluster", "recording_files", "rule_files"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """Everything about one cluster file. `cluster` is None exactly when there are problems."""

    file: Path
    document: Document
    cluster: Cluster | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def find_config(named: str | Path | None = None) -> Path:
    """The cluster file: the one named, else by environment, else the account's own, else the machine's.

    Raises:
        ConfigError: there is none; says what was tried and what to run.
    """
    found = Path(named).expanduser() if named is not None else places.config_file()
    if found.is_file():
        return found
    tried = (found,) if named is not None else places.config_files()
    paths = ", ".join(str(path) for path in tried)
    raise ConfigError((f"no cluster file (tried {paths}); create one: grid-offloader config init {tried[0]}",))


def check_cluster(path: Path) -> ClusterReport:
    """Read and check a cluster file. Raises ConfigError only where it cannot be parsed at all."""
    document = read_document(path)
    base = path.resolve().parent
    validated = validate(Cluster, {} if document.value is None else document.value, document, context={"base": base})
    checked = crosscheck(validated, document, base)
    problems = tuple(sorted({*document.problems, *validated.problems, *checked.problems}))
    cluster = complete(validated.value) if validated.value is not None and not problems else None
    return ClusterReport(path, document, cluster, problems, tuple(sorted(set(checked.warnings))))


def load_cluster(path: str | Path | None = None) -> Cluster:
    """The checked cluster, every derived default in place; warnings go to the log.

    Raises:
        ConfigError: there is no file, or it has problems (all of them, each with line and column).
    """
    report = check_cluster(find_config(path))
    raise_for(report.problems)
    assert report.cluster is not None
    for warning in report.warnings:
        log.warning("%s", warning)
    return report.cluster


def rule_files(cluster: Cluster, base: Path) -> tuple[Path, ...]:
    """The cluster's offload rule files. `base`: directory of the cluster file."""
    return expand(cluster.auto_offload.rule_files, base.resolve())


def recording_files(cluster: Cluster, base: Path) -> tuple[Path, ...]:
    """The files of recording rules that its offload rules may use."""
    return expand(cluster.prometheus.rule_files, base.resolve())
