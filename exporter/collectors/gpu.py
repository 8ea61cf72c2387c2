"""GPUs: use, memory, temperature, power, errors. A node without a GPU has no such series, and that is fine."""

from collections.abc import Iterator
from pathlib import Path

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.metrics import Kind, Metric, Sample, label_text
from exporter.nvml import Gpu
from exporter.procfs.read import read_optional

_GPU = ("gpu", "uuid")
_NVIDIA = "0x10de"
_DISPLAY = "0x03"

UTILISATION = Metric(
    "grid_gpu_utilisation_ratio",
    Kind.GAUGE,
    "Share of the last sample period in which a kernel ran on the GPU (absent under MIG).",
    "ratio 0-1",
    _GPU,
    "avg_over_time(grid_gpu_utilisation_ratio[10m]) < 0.2",
)
MEMORY_TOTAL = Metric("grid_gpu_memory_total_bytes", Kind.GAUGE, "Memory of the GPU.", "bytes", _GPU)
MEMORY_USED = Metric(
    "grid_gpu_memory_used_bytes",
    Kind.GAUGE,
    "GPU memory in use.",
    "bytes",
    _GPU,
    "grid_gpu_memory_total_bytes - grid_gpu_memory_used_bytes",
)
TEMPERATURE = Metric("grid_gpu_temperature_celsius", Kind.GAUGE, "Temperature of the GPU.", "degrees Celsius", _GPU)
POWER = Metric("grid_gpu_power_watts", Kind.GAUGE, "Power draw of the board.", "watts", _GPU)
ECC = Metric(
    "grid_gpu_ecc_errors_total",
    Kind.COUNTER,
    "Memory errors since the driver was loaded; type is corrected or uncorrected.",
    "errors",
    (*_GPU, "type"),
    'increase(grid_gpu_ecc_errors_total{type="uncorrected"}[1h]) > 0',
)
INFO = Metric(
    "grid_gpu_info",
    Kind.INFO,
    "Always 1: model name and MIG mode (enabled, disabled, unsupported).",
    "none",
    (*_GPU, "name", "mig"),
)
PROCESSES = Metric("grid_gpu_processes", Kind.GAUGE, "Processes with a compute context on the GPU.", "processes", _GPU)


class GpuCollector(Collector):
    """The newest report of the NVML sampler."""

    name = "gpu"
    metrics = (UTILISATION, MEMORY_TOTAL, MEMORY_USED, TEMPERATURE, POWER, ECC, INFO, PROCESSES)

    def __init__(self, node: Node) -> None:
        self._node = node
        self._board_seen = _has_nvidia_board(node.settings.roots.sys)

    def collect(self) -> Iterator[Sample]:
        """Raises NvmlStaleError when the driver hangs."""
        report = self._node.gpus.report()
        unseen = self._board_seen if report is None else report.error is not None
        yield DETAIL_MISSING.sample(unseen, "gpu")
        for gpu in report.gpus if report is not None else ():
            yield from _samples(gpu)


def _has_nvidia_board(sysfs: Path) -> bool:
    """Whether the PCI bus has a display controller (class 03xxxx) of NVIDIA: then no report means "not visible"."""
    devices = sysfs / "bus" / "pci" / "devices"
    return any(
        (read_optional(vendor) or "").strip() == _NVIDIA
        and (read_optional(vendor.parent / "class") or "").startswith(_DISPLAY)
        for vendor in devices.glob("*/vendor")
    )


def _samples(gpu: Gpu) -> Iterator[Sample]:
    labels = (str(gpu.index), gpu.uuid)
    values = (
        (UTILISATION, gpu.utilisation),
        (MEMORY_TOTAL, gpu.memory_total),
        (MEMORY_USED, gpu.memory_used),
        (TEMPERATURE, gpu.temperature),
        (POWER, gpu.power),
        (PROCESSES, len(gpu.processes)),
    )
    for metric, value in values:
        if value is not None:
            yield metric.sample(value, *labels)
    for kind, count in gpu.ecc.items():
        yield ECC.sample(count, *labels, kind)
    yield INFO.sample(1, *labels, label_text(gpu.name), gpu.mig)
