"""Disk I/O of the node: totals over its whole physical disks."""

import os
from collections.abc import Iterator, Mapping

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.collectors.totals import DeviceTotals
from exporter.metrics import Kind, Metric, Sample
from exporter.procfs.read import read_optional
from exporter.procfs.system import parse_diskstats

READS = Metric(
    "grid_node_disk_reads_completed_total",
    Kind.COUNTER,
    "Read requests to the node's disks since the exporter started.",
    "requests",
    example="rate(grid_node_disk_reads_completed_total[1m])",
)
READ_BYTES = Metric(
    "grid_node_disk_read_bytes_total",
    Kind.COUNTER,
    "Bytes read from the node's disks since the exporter started.",
    "bytes",
    example="rate(grid_node_disk_read_bytes_total[1m])",
)
WRITES = Metric(
    "grid_node_disk_writes_completed_total",
    Kind.COUNTER,
    "Write requests to the node's disks since the exporter started.",
    "requests",
)
WRITTEN_BYTES = Metric(
    "grid_node_disk_written_bytes_total",
    Kind.COUNTER,
    "Bytes written to the node's disks since the exporter started.",
    "bytes",
    example="rate(grid_node_disk_written_bytes_total[1m])",
)
BUSY = Metric(
    "grid_node_disk_busy_seconds_total",
    Kind.COUNTER,
    "Time in which a disk had requests under way, added up over the disks (absent with --scope=cgroup).",
    "seconds",
    example="rate(grid_node_disk_busy_seconds_total[1m]) > 0.9",
)


class DiskCollector(Collector):
    """/proc/diskstats, or io.stat of the cgroup: the sum over whole physical disks.

    Partitions and what lies on top of disks (LVM, RAID, loop devices) are not counted again. cgroup v1 charges a
    cgroup (blkio.throttle.*) only with what bypasses the page cache. A node without a disk has zeros. A disk that
    vanishes takes nothing out of the sums, which begin at 0 when the exporter starts.
    """

    name = "disk"
    metrics = (READS, READ_BYTES, WRITES, WRITTEN_BYTES, BUSY)

    def __init__(self, node: Node) -> None:
        self._node = node
        self._devices = node.settings.roots.sys / "dev" / "block"
        self._totals = DeviceTotals()

    def collect(self) -> Iterator[Sample]:
        """Sums, so that the number of series does not follow that of the disks."""
        of_cgroup = self._node.cgroup is not None
        metrics = self.metrics[:-1] if of_cgroup else self.metrics
        readings = self._readings()
        yield DETAIL_MISSING.sample(readings is None, "disk")
        yield DETAIL_MISSING.sample(readings is None or of_cgroup, "disk_busy")
        if readings is None:
            return
        physical = {number: io for number, io in readings.items() if self._is_physical(number)}
        for metric, total in zip(metrics, self._totals.add(physical, len(metrics)), strict=True):
            yield metric.sample(total / 1000 if metric is BUSY else total)

    def _readings(self) -> Mapping[str, tuple[int, ...]] | None:
        """By device number; None where they, or what kind of device each is, cannot be seen."""
        if not self._devices.is_dir():
            return None
        if self._node.cgroup is not None:
            return self._node.cgroup.io()
        text = read_optional(self._node.procfs.root / "diskstats")
        return None if text is None else parse_diskstats(text)

    def _is_physical(self, number: str) -> bool:
        """A whole disk, backed by a device: partitions, dm, md, loop and a multipath's single paths are not."""
        return os.access(f"{self._devices}/{number}/device", os.F_OK)
