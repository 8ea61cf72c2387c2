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

LIMITED = "cpu,load,memory,pressure,network,disk"


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
    """CPU ratio between two looks, a sleeper that woke up, and no series for kernel threads, zombies and small fry.

    Traffic and disk I/O are those between the looks: neither the bridge nor the card that was pulled out counts.
    """
    exporter = start_exporter(f"--procfs={proc}", f"--sysfs={FIXTURES}/host/sys", "--no-collector=gpu")
    shutil.copytree(FIXTURES / "host.after" / "proc", proc, dirs_exist_ok=True)
    _check("host", exporter.get())


def _without_ratio(text: str) -> str:
    return re.sub(r"^grid_node_cpu_ratio .*$", "grid_node_cpu_ratio ~", text, flags=re.MULTILINE)


@pytest.mark.parametrize(("name", "path"), [("cgroup_v2", "/batch.slice/node1.scope"), ("cgroup_v1", "/node1")])
def test_cgroup(start_exporter, proc, tmp_path, name, path):
    """A slice reports its own cores, memory, disk I/O and pressure, not the host's; it has no network of its own."""
    tree = shutil.copytree(FIXTURES / name, tmp_path / name)
    options = ("--scope=cgroup", f"--cgroupfs={tree}", f"--cgroup-path={path}", f"--sysfs={FIXTURES}/host/sys")
    exporter = start_exporter(f"--procfs={proc}", *options, f"--collectors={LIMITED}")
    shutil.copytree(FIXTURES / f"{name}.after", tree, dirs_exist_ok=True)
    _check(name, _without_ratio(exporter.get_until("^grid_node_cpu_ratio ")))


def test_container(start_exporter, proc, tmp_path):
    """What a container sees: its cgroup as the root, and one interface of its network namespace, without a device."""
    tree = shutil.copytree(FIXTURES / "cgroup_v2" / "batch.slice" / "node1.scope", tmp_path / "cgroup")
    shutil.copytree(FIXTURES / "container" / "cgroup", tree, dirs_exist_ok=True)
    sysfs = shutil.copytree(FIXTURES / "host" / "sys", tmp_path / "sys", ignore=shutil.ignore_patterns("class"))
    shutil.copytree(FIXTURES / "container" / "proc", proc, dirs_exist_ok=True)
    options = ("--scope=cgroup", f"--cgroupfs={tree}", f"--sysfs={sysfs}", f"--collectors={LIMITED}")
    exporter = start_exporter(f"--procfs={proc}", *options)
    shutil.copytree(FIXTURES / "container.after" / "proc", proc, dirs_exist_ok=True)
    shutil.copytree(FIXTURES / "container.after" / "cgroup", tree, dirs_exist_ok=True)
    _check("container", _without_ratio(exporter.get_until("^grid_node_cpu_ratio ")))


def test_gpu_node(start_exporter, proc, fake_nvml, tmp_path):
    """Two GPUs, one divided by MIG: what it does not support is absent, its parts are there, processes joined."""
    state = tmp_path / "state"
    state.write_text((FIXTURES / "gpu.state").read_text())
    env = {"LD_LIBRARY_PATH": str(fake_nvml), "GRID_FAKE_NVML": str(state)}
    exporter = start_exporter(f"--procfs={proc}", "--collectors=gpu,process", "--gpu.interval=600", env=env)
    _check("gpu", exporter.get_until("^grid_gpu_info"))
