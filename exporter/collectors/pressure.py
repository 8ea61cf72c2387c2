"""Pressure stall information: time in which work waited for a resource (kernel: accounting/psi.rst)."""

from collections.abc import Iterator

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.metrics import Kind, Metric, Sample
from exporter.procfs.read import read_optional
from exporter.procfs.system import Pressure, parse_pressure

RESOURCES = ("cpu", "memory", "io")

STALLED = Metric(
    "grid_node_pressure_stalled_seconds_total",
    Kind.COUNTER,
    "Time in which some task (kind=some) or all tasks at once (kind=full) were stalled for the resource.",
    "seconds",
    ("resource", "kind"),
    'rate(grid_node_pressure_stalled_seconds_total{resource="memory",kind="full"}[30s]) > 0.2',
)


class PressureCollector(Collector):
    """/proc/pressure, or the cgroup's own files. A kernel without PSI is normal: then there are no series."""

    name = "pressure"
    metrics = (STALLED,)

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Sample]:
        """Per resource, so that one that is missing leaves the others."""
        for resource in RESOURCES:
            pressure = self._pressure(resource)
            yield DETAIL_MISSING.sample(pressure is None, f"pressure_{resource}")
            if pressure is None:
                continue
            yield STALLED.sample(pressure.some, resource, "some")
            if pressure.full is not None:
                yield STALLED.sample(pressure.full, resource, "full")

    def _pressure(self, resource: str) -> Pressure | None:
        if self._node.cgroup is not None:
            return self._node.cgroup.pressure(resource)
        text = read_optional(self._node.procfs.root / "pressure" / resource)
        return parse_pressure(text) if text else None
