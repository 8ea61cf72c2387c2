"""One reading of all GPUs through an initialised NVML (NVIDIA Management Library API reference, nvidia-ml-py).

A field that a GPU does not support, or does not tell this user, is None. Any other error of a field is reported beside
the fields that could be read; one that means that the GPU is lost leaves out this GPU alone.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_TOO_EARLY_S = 60.0
_FULL = 100


class MigMode(StrEnum):
    """Multi-instance GPU: under it the GPU is divided, and utilisation is not available."""

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
class MigInstance:
    """A part of a divided GPU that work can be given: a compute instance in a GPU instance.

    Memory (bytes) is that of the GPU instance: its compute instances share it. `process_count` is None if unknown.
    """

    uuid: str
    name: str
    gpu_instance: int
    compute_instance: int
    memory_total: int | None
    memory_used: int | None
    process_count: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. Bytes, °C, watts, ratios 0-1; `ecc` counts errors by type since the driver was loaded.

    `process_count` is None where the driver does not tell the processes; `processes` are then none. `instances` are
    the parts under MIG.
    """

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
    process_count: int | None = None
    instances: tuple[MigInstance, ...] = ()


@dataclass(slots=True)
class _Device:
    index: int
    handle: Any = None
    uuid: str = ""
    name: str = ""
    last_seen: int = 0  # the time stamp of the newest utilisation sample, microseconds since the epoch


class NvmlReader:
    """Reads every GPU; what never changes is asked once for each."""

    def __init__(self, nvml: Any, now: Callable[[], float] = time.time) -> None:
        self._nvml = nvml
        self._now = now
        self._devices: list[_Device] = []
        self._errors: list[str] = []
        self._quiet = frozenset(
            {
                nvml.NVML_ERROR_NOT_SUPPORTED,
                nvml.NVML_ERROR_NO_PERMISSION,
                nvml.NVML_ERROR_FUNCTION_NOT_FOUND,  # a driver older than the binding
                nvml.NVML_ERROR_NOT_FOUND,
                nvml.NVML_ERROR_INSUFFICIENT_SIZE,  # more came while it was asked
            }
        )
        self._session_wide = frozenset(
            {
                nvml.NVML_ERROR_UNINITIALIZED,
                nvml.NVML_ERROR_DRIVER_NOT_LOADED,
                nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
            }
        )
        self._lost = self._session_wide | {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED}

    def read(self) -> tuple[tuple[Gpu, ...], str | None]:
        """One sample of all GPUs, and what is wrong (a GPU that fell off the bus is left out).

        Raises NVMLError where it concerns all of them: the driver was unloaded or replaced.
        """
        gpus: list[Gpu] = []
        errors: list[str] = []
        count = self._nvml.nvmlDeviceGetCount()
        if count != len(self._devices):
            self._devices = [_Device(index) for index in range(count)]
        for device in self._devices:
            self._errors = []
            try:
                gpus.append(self._read(device))
            except self._nvml.NVMLError as error:
                if error.value in self._session_wide:
                    raise
                device.handle = None  # after a reset the old one may stay invalid
                self._errors.append(str(error))
            errors += [f"GPU {device.index}: {error}" for error in self._errors]
        return tuple(gpus), "; ".join(errors) or None

    def _read(self, device: _Device) -> Gpu:
        nvml = self._nvml
        if device.handle is None:
            handle = nvml.nvmlDeviceGetHandleByIndex(device.index)
            device.uuid = nvml.nvmlDeviceGetUUID(handle)
            device.name = self._ask(nvml.nvmlDeviceGetName, handle) or "unknown"
            device.handle = handle
        handle = device.handle
        mig = self._mig(handle)
        divided = mig is MigMode.ENABLED
        rates = None if divided else self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        parts = tuple(self._instances(handle)) if divided else ()
        used = self._processes(handle)
        if used is None and parts:  # the whole may be told to administrators only, and the parts to everybody
            used = _merged([found for _, found in parts])
        shares = None if divided or used is None else self._utilisation(device, used)
        return Gpu(
            index=device.index,
            uuid=device.uuid,
            name=device.name,
            mig=mig,
            utilisation=_share(rates.gpu) if rates is not None else None,
            memory_total=memory.total if memory is not None else None,
            memory_used=memory.used if memory is not None else None,
            temperature=self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power=milliwatts / 1000 if milliwatts is not None else None,
            ecc=self._ecc(handle),
            processes=tuple(
                GpuProcess(pid, held, shares.get(pid, 0.0) if shares is not None else None)
                for pid, held in (used or {}).items()
            ),
            process_count=len(used) if used is not None else None,
            instances=tuple(instance for instance, _ in parts),
        )

    def _mig(self, handle: Any) -> MigMode:
        modes = self._ask(self._nvml.nvmlDeviceGetMigMode, handle)
        if modes is None:
            return MigMode.UNSUPPORTED
        return MigMode.ENABLED if modes[0] == self._nvml.NVML_DEVICE_MIG_ENABLE else MigMode.DISABLED

    def _instances(self, gpu: Any) -> Iterator[tuple[MigInstance, dict[int, int | None] | None]]:
        """Asked anew each time: instances come and go, and handles are used again for others."""
        nvml = self._nvml
        for index in range(self._ask(nvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0):
            handle = self._ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, index)
            if handle is None:
                continue  # no instance of that index, or not for this container
            identity = (nvml.nvmlDeviceGetUUID, nvml.nvmlDeviceGetGpuInstanceId, nvml.nvmlDeviceGetComputeInstanceId)
            uuid, gpu_instance, compute_instance = (self._ask(call, handle) for call in identity)
            if uuid is None or gpu_instance is None or compute_instance is None:
                continue  # it was destroyed in this moment
            memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
            used = self._processes(handle)
            instance = MigInstance(
                uuid=uuid,
                name=self._ask(nvml.nvmlDeviceGetName, handle) or "unknown",
                gpu_instance=gpu_instance,
                compute_instance=compute_instance,
                memory_total=memory.total if memory is not None else None,
                memory_used=memory.used if memory is not None else None,
                process_count=len(used) if used is not None else None,
            )
            yield instance, used

    def _ecc(self, handle: Any) -> dict[str, int]:
        nvml = self._nvml
        kinds = (
            ("corrected", nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
            ("uncorrected", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        )
        counts = (
            (name, self._ask(nvml.nvmlDeviceGetTotalEccErrors, handle, kind, nvml.NVML_VOLATILE_ECC))
            for name, kind in kinds
        )
        return {name: count for name, count in counts if count is not None}

    def _processes(self, handle: Any) -> dict[int, int | None] | None:
        """Memory by pid of those with a compute context, clients of the MPS server included; None if not told."""
        nvml = self._nvml
        found = self._first(
            handle, nvml.nvmlDeviceGetComputeRunningProcesses_v3, nvml.nvmlDeviceGetComputeRunningProcesses_v2
        )
        if found is None:
            return None
        clients = self._first(
            handle, nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, nvml.nvmlDeviceGetMPSComputeRunningProcesses_v2
        )
        memory: dict[int, int | None] = {}
        for process in found:  # under MIG a process may be listed once per instance
            memory[process.pid] = _sum(memory.get(process.pid), process.usedGpuMemory)
        for process in clients or ():
            memory.setdefault(process.pid, process.usedGpuMemory)
        return memory

    def _utilisation(self, device: _Device, pids: Mapping[int, object]) -> dict[int, float] | None:
        """Newest sample per pid since the last call; {} when nobody used the GPU, None when that cannot be known.

        Slots of the answer may hold garbage: pids without a context, old or future time stamps and shares beyond 100 %
        are passed over.
        """
        nvml = self._nvml
        latest = (self._now() + _TOO_EARLY_S) * 1e6
        if device.last_seen >= latest:  # the clock was set back: nothing would be newer for as long
            device.last_seen = 0
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(device.handle, device.last_seen)
        except nvml.NVMLError as error:
            if error.value in (nvml.NVML_SUCCESS, nvml.NVML_ERROR_NOT_FOUND):
                return {}
            self._pass_over(error, "nvmlDeviceGetProcessUtilization")
            return None
        fresh = [
            sample
            for sample in samples
            if sample.pid in pids and device.last_seen < sample.timeStamp < latest and sample.smUtil <= _FULL
        ]
        fresh.sort(key=lambda sample: sample.timeStamp)
        if fresh:
            device.last_seen = fresh[-1].timeStamp
        return {sample.pid: _share(sample.smUtil) for sample in fresh}

    def _first(self, handle: Any, *calls: Callable[..., Any]) -> Any:
        """Of versions of one call that which the driver has."""
        return next((found for call in calls if (found := self._ask(call, handle)) is not None), None)

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._nvml.NVMLError as error:
            self._pass_over(error, call.__name__)
            return None

    def _pass_over(self, error: Any, name: str) -> None:
        if error.value in self._lost:
            raise error
        if error.value not in self._quiet:
            self._errors.append(f"{name}: {error}")


def _merged(parts: list[dict[int, int | None] | None]) -> dict[int, int | None] | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    memory: dict[int, int | None] = {}
    for part in known:
        for pid, used in part.items():
            memory[pid] = _sum(memory.get(pid), used)
    return memory


def _share(percent: int) -> float:
    return min(_FULL, max(0, percent)) / _FULL


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else first + second
