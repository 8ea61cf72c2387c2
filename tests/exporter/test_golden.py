"""The whole exporter over fixture trees: real process, real HTTP, output compared line by line.

After a wanted change: `GRID_UPDATE_GOLDEN=1 pytest tests/exporter/test_golden.py`, then read the diff.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
GOLDEN = HERE / "golden"

TIMED = re.compile(
    r"^(grid_exporter_(?:collector_duration|sample_time)_seconds|grid_process_cpu_ratio)(\{.*\})? .*$",
    re.MULTILINE,
)
VERSION = re.compile(r'version="[^"]*"')

V2 = ("--scope=cgroup", f"--cgroupfs={FIXTURES}/cgroup_v2", "--cgroup-path=/batch.slice/node1.scope")
V1 = ("--scope=cgroup", f"--cgroupfs={FIXTURES}/cgroup_v1", "--cgroup-path=/node1")


def _comparable(text: str) -> str:
    """Without what depends on when and how fast it ran."""
    text = TIMED.sub(lambda match: f"{match[1]}{match[2] or ''} ~", text)
    return VERSION.sub('version="~"', text)


def _check(name: str, text: str) -> None:
    golden = GOLDEN / f"{name}.txt"
    found = _comparable(text)
    if os.environ.get("GRID_UPDATE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text(), f"{golden} differs; if that is wanted: GRID_UPDATE_GOLDEN=1 pytest {__file__}"


def test_bare_host(start_exporter, proc):
    """CPU ratio between two looks, a sleeper that woke up, and no series for kernel threads, zombies and small fry."""
    exporter = start_exporter(f"--procfs={proc}", "--no-collector=gpu")
    shutil.copytree(FIXTURES / "host.after" / "proc", proc, dirs_exist_ok=True)
    _check("host", exporter.get())


def _without_ratio(text: str) -> str:
    return re.sub(r"^grid_node_cpu_ratio .*$", "grid_node_cpu_ratio ~", text, flags=re.MULTILINE)


@pytest.mark.parametrize(("name", "options"), [("cgroup_v2", V2), ("cgroup_v1", V1)])
def test_cgroup(start_exporter, proc, name, options):
    """A container or slice reports its own cores, memory and pressure, not the host's."""
    exporter = start_exporter(f"--procfs={proc}", *options, "--collectors=cpu,load,memory,pressure")
    _check(name, _without_ratio(exporter.get_until("^grid_node_cpu_ratio ")))


def test_gpu_node(start_exporter, proc, fake_nvml, tmp_path):
    """Two GPUs, one of them under MIG: what it does not support is absent, processes are joined by pid."""
    state = tmp_path / "state"
    state.write_text((FIXTURES / "gpu.state").read_text())
    env = {"LD_LIBRARY_PATH": str(fake_nvml), "GRID_FAKE_NVML": str(state)}
    exporter = start_exporter(f"--procfs={proc}", "--collectors=gpu,process", "--gpu.interval=600", env=env)
    _check("gpu", exporter.get_until("^grid_gpu_info"))
