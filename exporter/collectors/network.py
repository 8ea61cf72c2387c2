"""Network traffic of the node: totals over its interfaces."""

import os
from collections.abc import Iterator
from pathlib import Path

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.collectors.totals import DeviceTotals
from exporter.metrics import Kind, Metric, Sample
from exporter.procfs.net import Traffic, parse_net_dev
from exporter.procfs.read import read_optional

RECEIVED = Metric(
    "grid_node_network_receive_bytes_total",
    Kind.COUNTER,
    "Bytes received by the node's interfaces since the exporter started.",
    "bytes",
    example="rate(grid_node_network_receive_bytes_total[1m])",
)
RECEIVE_ERRORS = Metric(
    "grid_node_network_receive_errors_total", Kind.COUNTER, "Packets that arrived damaged.", "packets"
)
RECEIVE_DROPPED = Metric(
    "grid_node_network_receive_dropped_total", Kind.COUNTER, "Packets dropped on arrival.", "packets"
)
TRANSMITTED = Metric(
    "grid_node_network_transmit_bytes_total",
    Kind.COUNTER,
    "Bytes sent by the node's interfaces since the exporter started.",
    "bytes",
    example="rate(grid_node_network_transmit_bytes_total[1m])",
)
TRANSMIT_ERRORS = Metric(
    "grid_node_network_transmit_errors_total",
    Kind.COUNTER,
    "Packets that could not be sent.",
    "packets",
    example="rate(grid_node_network_transmit_errors_total[5m]) > 0",
)
TRANSMIT_DROPPED = Metric(
    "grid_node_network_transmit_dropped_total", Kind.COUNTER, "Packets dropped before they were sent.", "packets"
)

_LOOPBACK = "lo"


class NetworkCollector(Collector):
    """/proc/net/dev: the sum over the physical interfaces, or where a network namespace has none, over all but lo.

    What goes through bridges, bonds, VLANs and containers on the way is counted once. A cgroup has no traffic of its
    own; a container (`--cgroup-path=/`) has that of its network namespace. An interface that vanishes takes nothing
    out of the sums, which begin at 0 when the exporter starts.
    """

    name = "network"
    metrics = (RECEIVED, RECEIVE_ERRORS, RECEIVE_DROPPED, TRANSMITTED, TRANSMIT_ERRORS, TRANSMIT_DROPPED)

    def __init__(self, node: Node) -> None:
        self._node = node
        self._totals = DeviceTotals()

    def collect(self) -> Iterator[Sample]:
        """Sums, so that the number of series does not follow that of the interfaces."""
        text = self._table()
        yield DETAIL_MISSING.sample(text is None, "network")
        if text is None:
            return
        counted = _counted(self._node.settings.roots.sys / "class" / "net", parse_net_dev(text))
        for metric, total in zip(self.metrics, self._totals.add(counted, len(self.metrics)), strict=True):
            yield metric.sample(total)

    def _table(self) -> str | None:
        """The host's as process 1 sees it: this one may run in a network namespace of its own."""
        proc = self._node.procfs.root
        if self._node.cgroup is None:
            return read_optional(proc / "1/net/dev") or read_optional(proc / "net/dev")
        if self._node.settings.cgroup_path.strip("/"):
            return None
        return read_optional(proc / "net/dev")


def _counted(interfaces: Path, table: dict[str, Traffic]) -> dict[str, Traffic]:
    """Without those whose packets go through another one as well: bridges, bonds, VLANs, tunnels, containers' ends."""
    physical = {name: traffic for name, traffic in table.items() if _is_physical(f"{interfaces}/{name}")}
    return physical or {name: traffic for name, traffic in table.items() if name != _LOOPBACK}


def _is_physical(interface: str) -> bool:
    """Backed by a device. On some virtual machines such an interface feeds another one that is, and counts for both."""
    return os.access(f"{interface}/device", os.F_OK) and not os.access(f"{interface}/master/device", os.F_OK)
