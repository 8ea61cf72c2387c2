"""The collectors, one file each. Adding one means: its file, its line in COLLECTORS, `python -m exporter.reference`."""

from exporter.collectors.base import Collector, Node
from exporter.collectors.cpu import CpuCollector
from exporter.collectors.disk import DiskCollector
from exporter.collectors.gpu import GpuCollector
from exporter.collectors.load import LoadCollector
from exporter.collectors.memory import MemoryCollector
from exporter.collectors.network import NetworkCollector
from exporter.collectors.pressure import PressureCollector
from exporter.collectors.process import ProcessCollector

COLLECTORS: tuple[type[Collector], ...] = (
    CpuCollector,
    LoadCollector,
    MemoryCollector,
    PressureCollector,
    NetworkCollector,
    DiskCollector,
    GpuCollector,
    ProcessCollector,
)

__all__ = ["COLLECTORS", "Collector", "Node"]
