"""What a collector is, and what it is given."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from exporter.metrics import Kind, Metric, Sample
from exporter.nvml import GpuSampler
from exporter.procfs.cgroup import Cgroup
from exporter.procfs.process import Procfs
from exporter.settings import Settings

DETAIL_MISSING = Metric(
    "grid_exporter_detail_missing",
    Kind.GAUGE,
    "1 where this exporter cannot see a detail on this node (privileges, kernel, scope), 0 where it can.",
    "boolean",
    ("detail",),
    "grid_exporter_detail_missing == 1",
)
"""Shared by the collectors: "cannot be seen" is an answer, not a failure."""


@dataclass(frozen=True, slots=True)
class Node:
    """The node as collectors see it: its procfs, its cgroup when that is the scope, its GPUs, a monotonic clock."""

    settings: Settings
    procfs: Procfs
    cgroup: Cgroup | None
    gpus: GpuSampler
    clock: Callable[[], float] = field(default=time.monotonic)


class Collector(ABC):
    """One family of metrics. `collect` raises when it failed; yielding nothing means "there is nothing here"."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]

    @abstractmethod
    def __init__(self, node: Node) -> None:
        """Keep what is needed; no reading yet."""

    @abstractmethod
    def collect(self) -> Iterable[Sample]:
        """Read the node and yield samples of `metrics` (or DETAIL_MISSING). Called by one thread at a time."""
