"""Against the fake library, each in a process of its own: what a driver does wrong stays with the GPU metrics."""

import ctypes
import os
import time

import pytest

from exporter.nvml import GpuReport, GpuSampler, NvmlStaleError
from exporter.nvml_reader import Gpu, MigMode

BASE = "gpu 0 uuid GPU-a\ngpu 0 name N\ngpu 0 memory_total 100\ngpu 0 memory_used 40\n"


@pytest.fixture
def gpu_node(start_exporter, proc, fake_nvml, tmp_path):
    """Starts an exporter whose driver says what the state file says."""
    state = tmp_path / "state"

    def start(text, *options):
        state.write_text(text)
        env = {"LD_LIBRARY_PATH": str(fake_nvml), "GRID_FAKE_NVML": str(state)}
        return start_exporter(
            f"--procfs={proc}", f"--sysfs={tmp_path}", "--collectors=gpu,process,load", *options, env=env
        ), state

    return start


def test_no_board_and_no_driver_is_normal(start_exporter, proc, tmp_path):
    """Most nodes: success, no series, nothing missing."""
    if os.path.exists("/proc/driver/nvidia"):  # noqa: PTH110 -- the real one, not the fixture's
        pytest.skip("this machine has a real NVIDIA driver")
    text = start_exporter(f"--procfs={proc}", f"--sysfs={tmp_path}", "--collectors=gpu").get()
    assert 'grid_exporter_collector_success{collector="gpu"} 1.0' in text
    assert 'grid_exporter_detail_missing{detail="gpu"} 0.0' in text
    assert "grid_gpu" not in text


def test_a_board_that_cannot_be_seen_is_said(start_exporter, proc, tmp_path):
    """A container without NVML on a GPU node: the bus shows the board, the driver's library is not there."""
    if os.path.exists("/proc/driver/nvidia"):  # noqa: PTH110 -- as above
        pytest.skip("this machine has a real NVIDIA driver")
    board = tmp_path / "bus" / "pci" / "devices" / "0000:01:00.0"
    board.mkdir(parents=True)
    (board / "vendor").write_text("0x10de\n")
    (board / "class").write_text("0x030200\n")
    text = start_exporter(f"--procfs={proc}", f"--sysfs={tmp_path}", "--collectors=gpu").get()
    assert 'grid_exporter_collector_success{collector="gpu"} 1.0' in text
    assert 'grid_exporter_detail_missing{detail="gpu"} 1.0' in text


def test_library_without_a_loaded_driver_is_normal_too(gpu_node):
    """A CUDA image on a node without a GPU: NVML_ERROR_DRIVER_NOT_LOADED."""
    exporter, _ = gpu_node("init !9\n")
    text = exporter.get()
    assert 'grid_exporter_detail_missing{detail="gpu"} 0.0' in text
    assert "grid_gpu" not in text


def test_a_driver_that_fails_fails_the_collector(gpu_node):
    """NVML_ERROR_UNKNOWN at initialisation: what is wrong is not known, and the others go on."""
    exporter, _ = gpu_node("init !999\n")
    text = exporter.get_until('success{collector="gpu"} 0')
    assert 'grid_exporter_collector_success{collector="gpu"} 0.0' in text
    assert 'grid_exporter_collector_success{collector="process"} 1.0' in text
    assert "grid_gpu" not in text


def test_a_driver_that_was_updated_under_the_kernel_is_said(gpu_node):
    """NVML_ERROR_LIB_RM_VERSION_MISMATCH: a detail of its own, and the log says what helps."""
    exporter, _ = gpu_node("init !18\n")
    text = exporter.get_until('detail="gpu_version_mismatch"} 1')
    assert 'detail="gpu_version_mismatch"} 1.0' in text
    assert 'detail="gpu"} 1.0' in text
    assert 'success{collector="gpu"} 1.0' in text


def test_unsupported_fields_are_absent_one_by_one(gpu_node):
    """A consumer card without ECC, power or MIG still has memory."""
    exporter, _ = gpu_node(BASE + "gpu 0 processes !3\n")
    text = exporter.get_until("^grid_gpu_info")
    assert 'detail="gpu"} 0.0' in text
    assert "grid_gpu_processes" not in text
    assert 'grid_gpu_memory_used_bytes{gpu="0",uuid="GPU-a"} 40.0' in text
    assert 'mig="unsupported"' in text
    assert "grid_gpu_power_watts" not in text
    assert "grid_gpu_ecc" not in text


def test_one_lost_gpu_leaves_the_other(gpu_node):
    """NVML_ERROR_GPU_IS_LOST of one board."""
    two = BASE + "gpu 1 uuid GPU-b\ngpu 1 name M\ngpu 1 temperature !15\n"
    exporter, _ = gpu_node(two)
    text = exporter.get_until("^grid_gpu_info")
    assert 'uuid="GPU-a"' in text
    assert 'uuid="GPU-b"' not in text
    assert 'detail="gpu"} 1.0' in text
    assert 'detail="gpu_version_mismatch"} 0.0' in text


@pytest.mark.slow
def test_old_utilisation_samples_do_not_come_back(gpu_node):
    """Only what is newer than the last look counts; a pid that NVML invents moves nothing."""
    line = "process 0 4242 10\nused 0 777 99999999 50\nslot 0 4242 1 99\nused 0 4242 100 60\n"
    exporter, state = gpu_node(BASE + line, "--gpu.interval=4")  # each look is there for long enough to be scraped
    series = 'grid_process_gpu_utilisation_ratio{class="training",comm="python3",gpu="0",pid="4242",user="4242"}'
    assert f"{series} 0.6\n" in exporter.get_until("^grid_process_gpu_utilisation_ratio")
    assert f"{series} 0.0\n" in exporter.get_until("^grid_process_gpu_utilisation_ratio.* 0.0$", seconds=20)
    state.write_text(BASE + line.replace("used 0 4242 100 60", "used 0 4242 200 30"))
    assert f"{series} 0.3\n" in exporter.get_until("^grid_process_gpu_utilisation_ratio.* 0.3$", seconds=20)


def test_a_hanging_driver_is_reported_and_holds_up_nothing(gpu_node):
    """Scrapes go on at once; the gpu collector fails instead of repeating old values for ever."""
    exporter, state = gpu_node(BASE + "gpu 0 util 5\n", "--gpu.interval=0.2")
    exporter.get_until("^grid_gpu_info")
    state.write_text(BASE + "gpu 0 util 5\nhang 20\n")
    text = exporter.get_until('success{collector="gpu"} 0')
    assert 'grid_exporter_collector_success{collector="gpu"} 0.0' in text
    assert "grid_node_load1 " in text
    exporter.process.kill()


@pytest.fixture
def sampler(fake_nvml, tmp_path, monkeypatch):
    """Starts a fast sampler in this process, over what a file says that the driver says."""
    state = tmp_path / "state"
    monkeypatch.setenv("GRID_FAKE_NVML", str(state))
    ctypes.CDLL(str(fake_nvml / "libnvidia-ml.so.1"), ctypes.RTLD_GLOBAL)  # found under its name from here on
    started = GpuSampler(interval=0.01, retry=0.05)
    yield started, state.write_text
    started.stop()
    if started._thread is not None:
        started._thread.join(10)


def _until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_mismatch_that_was_mended_is_noticed(sampler, caplog):
    """And told in the log once, not at every try."""
    gpus, driver = sampler
    driver("init !18\n")
    gpus.start()
    _until(lambda: gpus.report() and gpus.report().version_mismatch)
    tried = gpus.report().at
    _until(lambda: gpus.report().at > tried)
    driver(BASE)
    _until(lambda: gpus.report().gpus)
    assert (gpus.report().error, gpus.report().version_mismatch) == (None, False)
    assert caplog.text.count("different versions") == 1


def test_a_driver_that_is_exchanged_while_it_is_read(sampler):
    """The mismatch shows at any call then; the next try is with a fresh NVML."""
    gpus, driver = sampler
    driver(BASE)
    gpus.start()
    _until(lambda: gpus.report() and gpus.report().gpus)
    driver(BASE + "gpu 0 temperature !18\n")
    _until(lambda: gpus.report().version_mismatch)
    driver(BASE)
    _until(lambda: gpus.report().gpus)


def test_a_gpu_that_stays_lost_is_looked_for_with_a_fresh_nvml(sampler):
    """Which alone may find it again after it was reset; until then the others have their series."""
    gpus, driver = sampler
    lost = BASE + "gpu 1 uuid GPU-b\ngpu 1 handle !15\n"
    driver(lost)
    gpus.start()
    _until(lambda: gpus.report() and gpus.report().gpus)
    assert [gpu.uuid for gpu in gpus.report().gpus] == ["GPU-a"]
    driver(lost + "init !999\n")  # only a new initialisation meets this
    _until(lambda: gpus.report().error == "Unknown Error")


def test_stale_report_raises():
    """Age is counted from when the reading began."""
    now = [0.0]
    sampler = GpuSampler(interval=5, clock=lambda: now[0])
    gpu = Gpu(0, "u", "n", MigMode.DISABLED, None, None, None, None, None, {}, ())
    sampler._report = GpuReport(0.0, (gpu,))
    assert sampler.report() is not None
    now[0] = 31
    with pytest.raises(NvmlStaleError, match="31 s"):
        sampler.report()
