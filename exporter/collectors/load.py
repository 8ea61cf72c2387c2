"""Load averages."""

from collections.abc import Iterator

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.metrics import Kind, Metric, Sample
from exporter.procfs.read import read_text
from exporter.procfs.system import parse_loadavg

_HELP = "Tasks running or in uninterruptible sleep, averaged over {} (absent with --scope=cgroup: the kernel has none)."
LOAD1 = Metric("grid_node_load1", Kind.GAUGE, _HELP.format("1 minute"), "tasks")
LOAD5 = Metric(
    "grid_node_load5", Kind.GAUGE, _HELP.format("5 minutes"), "tasks", (), "grid_node_load5 / grid_node_cpu_cores"
)
LOAD15 = Metric("grid_node_load15", Kind.GAUGE, _HELP.format("15 minutes"), "tasks")


class LoadCollector(Collector):
    """/proc/loadavg, which is the host's also inside a container."""

    name = "load"
    metrics = (LOAD1, LOAD5, LOAD15)

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Sample]:
        """Nothing in a cgroup: the host's load would be taken for the node's."""
        missing = self._node.cgroup is not None
        yield DETAIL_MISSING.sample(missing, "load")
        if missing:
            return
        load = parse_loadavg(read_text(self._node.procfs.root / "loadavg"))
        yield LOAD1.sample(load.load1)
        yield LOAD5.sample(load.load5)
        yield LOAD15.sample(load.load15)
