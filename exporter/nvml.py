"""The GPUs of the node, sampled through NVML by a background thread.

Initialising the driver can take seconds and a call can hang with the hardware: neither may hold up a scrape. No
library or no driver is the normal case of most nodes.
"""

import contextlib
import ctypes
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.nvml_reader import Gpu, NvmlReader

_LIBRARY = "libnvidia-ml.so.1"
_RETRY_SECONDS = 300.0
_STALE_INTERVALS = 6
_SLOWEST_START_SECONDS = 60.0
_MISMATCH = (
    "the driver's library and the loaded kernel module are of different versions: restart the node; or stop this "
    "exporter, reload the module and start the exporter again"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GpuReport:
    """The GPUs of a node as of `at` (monotonic seconds).

    `error`: a driver or GPU is there but fails. `version_mismatch`: because the driver's library and its kernel module
    are of different versions, as after an update without a restart.
    """

    at: float
    gpus: tuple[Gpu, ...] = ()
    error: str | None = None
    version_mismatch: bool = False


class NvmlStaleError(RuntimeError):
    """The sampler has not answered for a while: a GPU call hangs."""


class NvmlFailedError(RuntimeError):
    """There is a driver, and no GPU answers."""


class VersionMismatchError(RuntimeError):
    """The NVML library does not fit the loaded kernel module."""


@dataclass
class GpuSampler:
    """Samples all GPUs every `interval` seconds in a daemon thread, once started.

    What fails is tried again with a fresh NVML after `retry` seconds.
    """

    interval: float = 5.0
    clock: Callable[[], float] = time.monotonic
    retry: float = _RETRY_SECONDS
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
                mismatch = isinstance(error, VersionMismatchError)
                self._publish(GpuReport(self.clock(), error=str(error), version_mismatch=mismatch))
                self._stop.wait(self.retry)

    def _session(self) -> None:
        import pynvml  # noqa: PLC0415 -- 6 MB that a node without a driver need not load

        try:
            pynvml.nvmlInit()
        except (pynvml.NVMLError_DriverNotLoaded, pynvml.NVMLError_LibraryNotFound):
            self._starting_since = self._report = None
            self._stop.wait(self.retry)
            return
        except pynvml.NVMLError_LibRmVersionMismatch as error:
            raise VersionMismatchError(_MISMATCH) from error
        try:
            self._sample(NvmlReader(pynvml))
        except pynvml.NVMLError_LibRmVersionMismatch as error:
            raise VersionMismatchError(_MISMATCH) from error
        finally:
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _sample(self, reader: NvmlReader) -> None:
        """Until it is stopped, or something has been wrong for a while that a fresh NVML may see mended."""
        well = self.clock()
        while not self._stop.is_set():
            began = self.clock()
            report = GpuReport(began, *reader.read())
            self._publish(report)
            if report.error is None:
                well = began
            elif began - well >= self.retry:
                return
            self._stop.wait(self.interval)

    def _publish(self, report: GpuReport) -> None:
        known = self._report.error if self._report is not None else None
        if report.error is not None and report.error != known:
            log.warning("NVML: %s", report.error)
        self._report = report
