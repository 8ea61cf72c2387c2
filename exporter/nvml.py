"""GPUs through NVML (NVIDIA Management Library API reference), read by a background thread.

Initialising the driver can take seconds and a call can hang with the hardware: neither may hold up a scrape. No
library or no driver is the normal case of most nodes. Fields that a GPU does not support are None.
"""

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_RETRY_SECONDS = 300.0
_STALE_INTERVALS = 6
_SLOWEST_START_SECONDS = 60.0

log = logging.getLogger(__name__)


class MigMode(StrEnum):
    """Multi-instance GPU: under it, per-process utilisation is not available."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with a context on a GPU: bytes of GPU memory; share of the GPU's time since the last look."""

    pid: int
    memory: int | None
    utilisation: float | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. Bytes, °C, watts, ratios 0-1; `ecc` counts errors by type since the driver was loaded."""

    index: int
    uuid: str
    name: str
    mig: MigMode
    utilisation: float | None
    memory_total: int | None
    memory_used: int | None
    temperature: int | None
    power: float | None
    ecc: dict[str, int]
    processes: tuple[GpuProcess, ...]


@dataclass(frozen=True, slots=True)
class GpuReport:
    """The GPUs of a node as of `at` (monotonic seconds). `error`: a driver or GPU is there but fails."""

    at: float
    gpus: tuple[Gpu, ...] = ()
    error: str | None = None


class NvmlStaleError(RuntimeError):
    """The sampler has not answered for a while: a GPU call hangs."""


@dataclass(slots=True)
class _Device:
    index: int
    handle: Any
    uuid: str
    name: str
    last_seen: int = 0  # the time stamp of the newest utilisation sample, microseconds


@dataclass
class GpuSampler:
    """Samples all GPUs every `interval` seconds in a daemon thread, once started."""

    interval: float = 5.0
    clock: Callable[[], float] = time.monotonic
    _report: GpuReport | None = None
    _starting_since: float | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in the background; does nothing where the library is not installed."""
        try:
            ctypes.CDLL(_LIBRARY)
        except OSError:
            return
        self._starting_since = self.clock()
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; a hanging driver is not waited for."""
        self._stop.set()

    def report(self) -> GpuReport | None:
        """The newest report; None without a driver or before the first. Raises NvmlStaleError when it is too old."""
        report = self._report
        if report is None:
            self._check(self._starting_since, _SLOWEST_START_SECONDS)
        elif report.gpus or report.error is None:
            self._check(report.at, self.interval * _STALE_INTERVALS)
        return report

    def _check(self, since: float | None, patience: float) -> None:
        age = 0.0 if since is None else self.clock() - since
        if age > patience:
            raise NvmlStaleError(f"the GPU driver has not answered for {age:.0f} s")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._session()
            except Exception as error:  # noqa: BLE001 -- loop boundary: the report says so, the next try is later
                log.warning("NVML: %s", error)
                self._report = GpuReport(self.clock(), error=str(error))
                self._stop.wait(_RETRY_SECONDS)

    def _session(self) -> None:
        import pynvml  # noqa: PLC0415 -- 6 MB that a node without a driver need not load

        try:
            pynvml.nvmlInit()
        except (pynvml.NVMLError_DriverNotLoaded, pynvml.NVMLError_LibraryNotFound):
            self._starting_since = self._report = None
            self._stop.wait(_RETRY_SECONDS)
            return
        try:
            reader = NvmlReader(pynvml)
            while not self._stop.is_set():
                began = self.clock()
                self._report = GpuReport(began, *reader.read())
                self._stop.wait(self.interval)
        finally:
            pynvml.nvmlShutdown()


class NvmlReader:
    """Reads every GPU through an initialised NVML; what never changes is asked once."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._devices = [self._device(index) for index in range(nvml.nvmlDeviceGetCount())]

    def read(self) -> tuple[tuple[Gpu, ...], str | None]:
        """One sample of all GPUs, and what is wrong with those that are left out (a GPU that fell off the bus)."""
        gpus: list[Gpu] = []
        errors: list[str] = []
        for device in self._devices:
            try:
                gpus.append(self._read(device))
            except self._nvml.NVMLError as error:
                errors.append(f"GPU {device.index}: {error}")
        return tuple(gpus), "; ".join(errors) or None

    def _device(self, index: int) -> _Device:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = self._nvml.nvmlDeviceGetUUID(handle)
        return _Device(index, handle, uuid, self._supported(self._nvml.nvmlDeviceGetName, handle) or "unknown")

    def _read(self, device: _Device) -> Gpu:
        nvml, handle = self._nvml, device.handle
        rates = self._supported(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._supported(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = self._supported(nvml.nvmlDeviceGetPowerUsage, handle)
        return Gpu(
            index=device.index,
            uuid=device.uuid,
            name=device.name,
            mig=self._mig(handle),
            utilisation=_percent(rates.gpu) if rates is not None else None,
            memory_total=memory.total if memory is not None else None,
            memory_used=memory.used if memory is not None else None,
            temperature=self._supported(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power=milliwatts / 1000 if milliwatts is not None else None,
            ecc=self._ecc(handle),
            processes=self._processes(device),
        )

    def _mig(self, handle: Any) -> MigMode:
        modes = self._supported(self._nvml.nvmlDeviceGetMigMode, handle)
        if modes is None:
            return MigMode.UNSUPPORTED
        return MigMode.ENABLED if modes[0] == self._nvml.NVML_DEVICE_MIG_ENABLE else MigMode.DISABLED

    def _ecc(self, handle: Any) -> dict[str, int]:
        nvml = self._nvml
        kinds = (
            ("corrected", nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
            ("uncorrected", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        )
        counts = (
            (name, self._supported(nvml.nvmlDeviceGetTotalEccErrors, handle, kind, nvml.NVML_VOLATILE_ECC))
            for name, kind in kinds
        )
        return {name: count for name, count in counts if count is not None}

    def _processes(self, device: _Device) -> tuple[GpuProcess, ...]:
        found = self._supported(self._nvml.nvmlDeviceGetComputeRunningProcesses, device.handle) or []
        memory: dict[int, int | None] = {}
        for process in found:  # under MIG a process may be listed once per instance
            memory[process.pid] = _sum(memory.get(process.pid), process.usedGpuMemory)
        shares = self._utilisation(device, memory)
        return tuple(
            GpuProcess(pid, used, shares.get(pid, 0.0) if shares is not None else None) for pid, used in memory.items()
        )

    def _utilisation(self, device: _Device, pids: Container[int]) -> dict[int, float] | None:
        """Newest sample per pid since the last call; {} when nobody used the GPU, None when that cannot be known.

        Slots of the answer may hold garbage: unknown pids and old time stamps are passed over, shares clamped.
        """
        nvml = self._nvml
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(device.handle, device.last_seen)
        except nvml.NVMLError as error:
            if error.value in (nvml.NVML_SUCCESS, nvml.NVML_ERROR_NOT_FOUND):
                return {}
            if error.value in (*_unsupported(nvml), nvml.NVML_ERROR_INSUFFICIENT_SIZE):  # or more came meanwhile
                return None
            raise
        fresh = [sample for sample in samples if sample.pid in pids and sample.timeStamp > device.last_seen]
        fresh.sort(key=lambda sample: sample.timeStamp)
        if fresh:
            device.last_seen = fresh[-1].timeStamp
        return {sample.pid: _percent(sample.smUtil) for sample in fresh}

    def _supported(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._nvml.NVMLError as error:
            if error.value in _unsupported(self._nvml):
                return None
            raise


def _unsupported(nvml: Any) -> tuple[int, ...]:
    return nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_PERMISSION, nvml.NVML_ERROR_FUNCTION_NOT_FOUND


def _percent(value: int) -> float:
    return min(100, max(0, value)) / 100


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else first + second
