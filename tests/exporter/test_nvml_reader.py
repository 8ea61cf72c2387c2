"""The reader over the fake library, in this process: what is missing or wrong costs only itself."""

import ctypes
from dataclasses import replace

import pytest

from exporter.nvml_reader import GpuProcess, MigInstance, MigMode, NvmlReader

BASE = "gpu 0 uuid GPU-a\ngpu 0 name N\ngpu 0 memory_total 100\ngpu 0 memory_used 40\n"
FULL = BASE + (
    "gpu 0 util 5\ngpu 0 temperature 50\ngpu 0 power 9000\ngpu 0 mig 0\ngpu 0 ecc0 1\ngpu 0 ecc1 2\nprocess 0 7 30\n"
)
OTHER = "gpu 1 uuid GPU-b\ngpu 1 name M\ngpu 1 memory_total 200\ngpu 1 memory_used 10\n"
DIVIDED = "gpu 0 uuid GPU-a\ngpu 0 mig 1\n"
PART = "gpu 0/{0} uuid MIG-{0}\ngpu 0/{0} name 1g.5gb\ngpu 0/{0} gi {1}\ngpu 0/{0} ci {2}\ngpu 0/{0} memory_total 50\n"

NOW_S = 1_700_000_000
NOW_US = NOW_S * 1_000_000


@pytest.fixture(scope="module")
def nvml(fake_nvml):
    """pynvml with the fake library, which it finds under its name once it is loaded."""
    import pynvml

    ctypes.CDLL(str(fake_nvml / "libnvidia-ml.so.1"), ctypes.RTLD_GLOBAL)
    pynvml.nvmlInit()
    yield pynvml
    pynvml.nvmlShutdown()


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Sets what the driver says from now on."""
    path = tmp_path / "state"
    monkeypatch.setenv("GRID_FAKE_NVML", str(path))
    return path.write_text


@pytest.fixture
def reader(nvml):
    return NvmlReader(nvml, lambda: NOW_S)


def _without(text, field, status):
    """The driver's answers with an error in place of one."""
    lines = [line for line in text.splitlines() if not line.startswith(f"gpu 0 {field} ")]
    return "\n".join([*lines, f"gpu 0 {field} !{status}", ""])


@pytest.mark.parametrize("status", [3, 4, 6, 13])
@pytest.mark.parametrize(
    ("field", "lost"),
    [
        ("util", {"utilisation": None}),
        ("memory_total", {"memory_total": None, "memory_used": None}),
        ("temperature", {"temperature": None}),
        ("power", {"power": None}),
        ("mig", {"mig": MigMode.UNSUPPORTED}),
        ("ecc0", {"ecc": {"uncorrected": 2}}),
        ("name", {"name": "unknown"}),
        ("processes", {"processes": (), "process_count": None}),
    ],
)
def test_a_field_that_is_denied_or_not_offered_costs_itself(nvml, driver, field, lost, status):
    """NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, FUNCTION_NOT_FOUND; nothing is wrong then."""
    driver(FULL)
    (whole,), error = NvmlReader(nvml).read()
    assert error is None
    driver(_without(FULL, field, status))
    assert NvmlReader(nvml).read() == ((replace(whole, **lost),), None)


def test_another_error_costs_its_field_and_is_told(driver, reader):
    """A power sensor that fails does not hide the memory."""
    driver(_without(FULL, "power", 999))
    (gpu,), error = reader.read()
    assert (gpu.power, gpu.memory_used) == (None, 40)
    assert error == "GPU 0: nvmlDeviceGetPowerUsage: Unknown Error"


@pytest.mark.parametrize("call", ["handle", "uuid", "mig", "memory_total", "temperature", "processes"])
@pytest.mark.parametrize("status", [15, 16])
def test_a_lost_gpu_leaves_the_others_and_may_come_back(driver, reader, call, status):
    """GPU_IS_LOST and RESET_REQUIRED, whichever call says so, also when it was lost from the start on."""
    driver(_without(FULL, call, status) + OTHER)
    gpus, error = reader.read()
    assert [gpu.uuid for gpu in gpus] == ["GPU-b"]
    assert error.startswith("GPU 0: ")
    driver(FULL + OTHER)
    gpus, error = reader.read()
    assert ([gpu.uuid for gpu in gpus], error) == (["GPU-a", "GPU-b"], None)


@pytest.mark.parametrize("status", [1, 9, 18])
def test_what_concerns_the_driver_concerns_all_gpus(nvml, driver, reader, status):
    """UNINITIALIZED, DRIVER_NOT_LOADED, LIB_RM_VERSION_MISMATCH: the driver was exchanged under us."""
    driver(_without(FULL, "temperature", status) + OTHER)
    with pytest.raises(nvml.NVMLError) as caught:
        reader.read()
    assert caught.value.value == status


def test_gpus_that_come_and_go(driver, reader):
    """Counted anew at each look."""
    driver(BASE)
    assert [gpu.uuid for gpu in reader.read()[0]] == ["GPU-a"]
    driver(BASE + OTHER)
    assert [gpu.uuid for gpu in reader.read()[0]] == ["GPU-a", "GPU-b"]
    driver(OTHER.replace("gpu 1", "gpu 0"))
    assert [gpu.uuid for gpu in reader.read()[0]] == ["GPU-b"]


def test_instances_of_a_divided_gpu(driver, reader):
    """Gaps in their numbers, one that this container may not see, one whose processes are not told."""
    hidden = PART.format(4, 5, 0) + "gpu 0/4 handle !4\n"
    untold = PART.format(6, 6, 0) + "gpu 0/6 memory_used 1\ngpu 0/6 processes !4\n"
    driver(DIVIDED + PART.format(1, 3, 0) + "gpu 0/1 memory_used 9\nprocess 0/1 7 8\n" + hidden + untold)
    (gpu,), error = reader.read()
    assert error is None
    assert gpu.instances == (
        MigInstance("MIG-1", "1g.5gb", 3, 0, 50, 9, 1),
        MigInstance("MIG-6", "1g.5gb", 6, 0, 50, 1, None),
    )
    assert (gpu.mig, gpu.utilisation, gpu.processes) == (MigMode.ENABLED, None, (GpuProcess(7, 8, None),))


def test_instances_are_asked_anew_each_time(driver, reader):
    """They are made and destroyed while the exporter runs, and their handles used again."""
    driver(DIVIDED + PART.format(0, 1, 0))
    assert [part.gpu_instance for part in reader.read()[0][0].instances] == [1]
    driver(DIVIDED + PART.format(0, 2, 0).replace("MIG-0", "MIG-new") + PART.format(1, 2, 1))
    assert [(part.uuid, part.compute_instance) for part in reader.read()[0][0].instances] == [
        ("MIG-new", 0),
        ("MIG-1", 1),
    ]
    driver(DIVIDED)
    assert reader.read()[0][0].instances == ()
    driver(BASE)
    assert reader.read()[0][0].mig is MigMode.UNSUPPORTED


def test_who_may_not_ask_the_whole_gpu_asks_its_instances(driver, reader):
    """The processes of a divided GPU are for administrators, those of its instances for everybody: each once."""
    parts = PART.format(0, 1, 0) + PART.format(1, 2, 0) + "process 0/0 7 10\nprocess 0/1 7 20\nprocess 0/1 8 -1\n"
    together = (GpuProcess(7, 30, None), GpuProcess(8, None, None))
    driver(DIVIDED + parts)
    assert reader.read()[0][0].processes == together
    driver(DIVIDED + parts + "gpu 0 processes !4\n")
    (gpu,), _ = reader.read()
    assert (gpu.processes, gpu.process_count) == (together, 2)


def test_clients_of_the_mps_server_are_processes_of_the_gpu(driver, reader):
    """They are listed apart from the others; one that is in both lists counts once."""
    driver(BASE + "process 0 7 10\nmps 0 8 20\nmps 0 7 10\nused 0 8 5 40\n")
    (gpu,), _ = reader.read()
    assert gpu.processes == (GpuProcess(7, 10, 0.0), GpuProcess(8, 20, 0.4))


def test_a_driver_older_than_the_binding(driver, reader):
    """Process lists of the second version (drivers before 510)."""
    driver(BASE + "old yes\nprocess 0 7 10\n")
    assert reader.read()[0][0].processes == (GpuProcess(7, 10, 0.0),)


def test_garbage_in_the_utilisation_samples(driver, reader):
    """Impossible shares, pids without a context, time stamps of the far future: passed over, now and later."""
    process = BASE + "process 0 7 10\n"
    garbage = f"slot 0 7 {NOW_US} 37100\nslot 0 9 {NOW_US} 50\nslot 0 7 {NOW_US * 100} 50\n"
    driver(process + garbage + f"used 0 7 {NOW_US - 2_000_000} 60\nused 0 7 {NOW_US - 3_000_000} 20\n")
    assert reader.read()[0][0].processes == (GpuProcess(7, 10, 0.6),)
    driver(process + garbage + f"used 0 7 {NOW_US - 1_000_000} 30\n")
    assert reader.read()[0][0].processes == (GpuProcess(7, 10, 0.3),)


def test_utilisation_that_is_not_told_is_unknown_and_not_zero(driver, reader):
    """Between "used nothing" and "nobody knows"."""
    driver(BASE + "process 0 7 10\nused 0 !3\n")
    assert reader.read()[1] is None
    assert reader.read()[0][0].processes == (GpuProcess(7, 10, None),)


def test_a_clock_that_is_set_back_hides_nothing(nvml, driver):
    """An exporter that started before the time was right: what it saw then is in the future now."""
    now = [NOW_S + 3600]
    reader = NvmlReader(nvml, lambda: now[0])
    driver(BASE + f"process 0 7 10\nused 0 7 {NOW_US + 3_600_000_000} 60\n")
    assert reader.read()[0][0].processes == (GpuProcess(7, 10, 0.6),)
    now[0] = NOW_S
    driver(BASE + f"process 0 7 10\nused 0 7 {NOW_US - 1_000_000} 30\n")
    assert reader.read()[0][0].processes == (GpuProcess(7, 10, 0.3),)
