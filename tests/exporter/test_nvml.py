"""Against the fake library, each in a process of its own: what a driver does wrong stays with the GPU metrics."""

import os

import pytest

from exporter.nvml import Gpu, GpuReport, GpuSampler, MigMode, NvmlStaleError

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


def test_a_driver_that_fails_is_said(gpu_node):
    """NVML_ERROR_UNKNOWN at initialisation."""
    exporter, _ = gpu_node("init !999\n")
    assert 'detail="gpu"} 1.0' in exporter.get_until('detail="gpu"} 1')


def test_unsupported_fields_are_absent_one_by_one(gpu_node):
    """A consumer card without ECC, power or MIG still has memory."""
    exporter, _ = gpu_node(BASE)
    text = exporter.get_until("^grid_gpu_info")
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


def test_old_utilisation_samples_do_not_come_back(gpu_node):
    """Only what is newer than the last look counts; a pid that NVML invents moves nothing."""
    line = "process 0 4242 10\nused 0 777 99999999 50\nslot 0 4242 1 99\nused 0 4242 100 60\n"
    exporter, state = gpu_node(BASE + line, "--gpu.interval=1")
    series = 'grid_process_gpu_utilisation_ratio{class="training",comm="python3",gpu="0",pid="4242",user="4242"}'
    assert f"{series} 0.6\n" in exporter.get_until("^grid_process_gpu_utilisation_ratio")
    assert f"{series} 0.0\n" in exporter.get_until("^grid_process_gpu_utilisation_ratio.* 0.0$", seconds=5)
    state.write_text(BASE + line.replace("used 0 4242 100 60", "used 0 4242 200 30"))
    assert f"{series} 0.3\n" in exporter.get_until("^grid_process_gpu_utilisation_ratio.* 0.3$", seconds=5)


def test_a_hanging_driver_is_reported_and_holds_up_nothing(gpu_node):
    """Scrapes go on at once; the gpu collector fails instead of repeating old values for ever."""
    exporter, state = gpu_node(BASE + "gpu 0 util 5\n", "--gpu.interval=0.2")
    exporter.get_until("^grid_gpu_info")
    state.write_text(BASE + "gpu 0 util 5\nhang 20\n")
    text = exporter.get_until('success{collector="gpu"} 0')
    assert 'grid_exporter_collector_success{collector="gpu"} 0.0' in text
    assert "grid_node_load1 " in text
    exporter.process.kill()


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
