"""A node over a private copy of the host fixture, and what a collector says about it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from exposition import samples_of

from exporter.collectors import Node
from exporter.collectors.base import DETAIL_MISSING
from exporter.exposition import Format, encode, group
from exporter.nvml import GpuSampler
from exporter.procfs.process import Procfs
from exporter.roots import Roots
from exporter.settings import Settings

FIXTURES = Path(__file__).parent.parent / "fixtures"


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A private copy of the host fixture's /sys."""
    return shutil.copytree(FIXTURES / "host" / "sys", tmp_path / "sys")


@pytest.fixture
def make_node(proc: Path, sysfs: Path) -> Callable[..., Node]:
    """The host, or a cgroup (anything with the wanted methods) as the node."""

    def make(cgroup: object = None, cgroup_path: str = "/", clock: Callable[[], float] = lambda: 0.0) -> Node:
        settings = Settings((), cgroup_path=cgroup_path, roots=Roots(proc, sysfs))
        return Node(settings, Procfs(proc), cgroup, GpuSampler(), clock)

    return make


@pytest.fixture
def look() -> Callable[..., dict[str, float]]:
    """One look: values by metric name without its prefix and label values, missing details as `missing:NAME`."""

    def values(collector: object) -> dict[str, float]:
        families = group((*collector.metrics, DETAIL_MISSING), collector.collect())
        return {
            f"missing:{labels[0]}"
            if name == DETAIL_MISSING.name
            else ",".join((name.removeprefix("grid_node_"), *labels)): value
            for (name, *labels), value in samples_of(encode(families, Format.TEXT).decode()).items()
        }

    return values
