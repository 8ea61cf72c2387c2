"""GPUs: use, memory, temperature, power, errors. A node without a GPU has no such series, and that is fine."""

from collections.abc import Iterator
from functools import cached_property

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.metrics import Kind, Metric, Sample, label_text
from exporter.nvml import NvmlFailedError
from exporter.nvml_reader import Gpu, MigInstance
from exporter.procfs.read import read_optional

_GPU = ("gpu", "uuid")
_MIG = ("gpu", "uuid", "gpu_instance", "compute_instance")
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
MEMORY_TOTAL = Metric(
    "grid_gpu_memory_total_bytes", Kind.GAUGE, "Memory of the GPU (under MIG: of all its instances).", "bytes", _GPU
)
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
MIG_MEMORY_TOTAL = Metric(
    "grid_gpu_mig_memory_total_bytes",
    Kind.GAUGE,
    "Memory of an instance of a GPU that is divided (MIG); uuid is the instance's, which CUDA_VISIBLE_DEVICES takes. "
    "Compute instances of one GPU instance share it.",
    "bytes",
    _MIG,
    "sum by (node) (max without (uuid, compute_instance) (grid_gpu_mig_memory_total_bytes))",
)
MIG_MEMORY_USED = Metric(
    "grid_gpu_mig_memory_used_bytes", Kind.GAUGE, "Memory of the instance in use, shared likewise.", "bytes", _MIG
)
MIG_PROCESSES = Metric(
    "grid_gpu_mig_processes",
    Kind.GAUGE,
    "Processes with a compute context on the instance. How busy they keep it NVML does not tell.",
    "processes",
    _MIG,
    "grid_gpu_mig_processes == 0",
)
MIG_INFO = Metric(
    "grid_gpu_mig_info", Kind.INFO, "Always 1: the name of the instance, with its profile.", "none", (*_MIG, "name")
)


class GpuCollector(Collector):
    """The newest report of the NVML sampler.

    Under MIG a GPU is divided into instances, and they are what work can be given: they have the series
    `grid_gpu_mig_*`. Those of the GPU go on and tell of all of it, so do not add the two up. A field that a GPU or its
    driver does not offer is absent; a GPU that is lost has no series, and the others keep theirs.
    """

    name = "gpu"
    metrics = (
        UTILISATION, MEMORY_TOTAL, MEMORY_USED, TEMPERATURE, POWER, ECC, INFO, PROCESSES,
        MIG_MEMORY_TOTAL, MIG_MEMORY_USED, MIG_PROCESSES, MIG_INFO,
    )  # fmt: skip

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Sample]:
        """Raises NvmlStaleError when the driver hangs, NvmlFailedError when no GPU answers and nobody knows why."""
        report = self._node.gpus.report()
        if report is not None and report.error is not None and not report.gpus and not report.version_mismatch:
            raise NvmlFailedError(report.error)
        unseen = self._board_seen if report is None else report.error is not None
        yield DETAIL_MISSING.sample(unseen, "gpu")
        yield DETAIL_MISSING.sample(report is not None and report.version_mismatch, "gpu_version_mismatch")
        for gpu in report.gpus if report is not None else ():
            yield from _samples(gpu)
            for instance in gpu.instances:
                yield from _of_instance(str(gpu.index), instance)

    @cached_property
    def _board_seen(self) -> bool:
        """Whether the PCI bus has a display controller (class 03xxxx) of NVIDIA: then no report means "not visible"."""
        devices = self._node.settings.roots.sys / "bus" / "pci" / "devices"
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
        (PROCESSES, gpu.process_count),
    )
    for metric, value in values:
        if value is not None:
            yield metric.sample(value, *labels)
    for kind, count in gpu.ecc.items():
        yield ECC.sample(count, *labels, kind)
    yield INFO.sample(1, *labels, label_text(gpu.name), gpu.mig)


def _of_instance(gpu: str, instance: MigInstance) -> Iterator[Sample]:
    labels = (gpu, instance.uuid, str(instance.gpu_instance), str(instance.compute_instance))
    values = (
        (MIG_MEMORY_TOTAL, instance.memory_total),
        (MIG_MEMORY_USED, instance.memory_used),
        (MIG_PROCESSES, instance.process_count),
    )
    for metric, value in values:
        if value is not None:
            yield metric.sample(value, *labels)
    yield MIG_INFO.sample(1, *labels, label_text(instance.name))
