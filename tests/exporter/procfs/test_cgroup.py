import pytest

from exporter.procfs.cgroup import open_cgroup
from exporter.procfs.read import ParseError


def _write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def _v2(tmp_path, **files):
    base = {"cgroup.controllers": "cpu\n", "a/b/cpu.stat": "usage_usec 5000000\nuser_usec 1\nsystem_usec 1\n"}
    return open_cgroup(_write(tmp_path, base | {name.replace("__", "/"): text for name, text in files.items()}), "/a/b")


def test_the_tightest_limit_above_binds(tmp_path):
    """A slice's quota holds for the containers in it."""
    files = {"a__cpu.max": "50000 100000\n", "a__b__cpu.max": "200000 100000\n"}
    cpu = _v2(tmp_path, **files).cpu()
    assert cpu is not None
    assert (cpu.used, cpu.cores(64)) == (5.0, 0.5)


def test_cpu_set_counts_as_cores(tmp_path):
    """Pinned to three of many."""
    cpu = _v2(tmp_path, **{"a__b__cpuset.cpus.effective": "0-1,7\n"}).cpu()
    assert cpu is not None
    assert cpu.cores(64) == 3


def test_without_controllers_there_is_nothing_but_no_failure(tmp_path):
    """The root of a v2 hierarchy: absent is not failed."""
    cgroup = open_cgroup(_write(tmp_path, {"cgroup.controllers": ""}), "/")
    assert (cgroup.cpu(), cgroup.memory(), cgroup.pressure("cpu")) == (None, None, None)


def test_v1_without_quota_has_the_hosts_cores(tmp_path):
    """cfs_quota_us of -1."""
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n", "cpuacct/cpuacct.usage": "1000000000"}
    cpu = open_cgroup(_write(tmp_path, files), "/").cpu()
    assert cpu is not None
    assert (cpu.used, cpu.cores(2)) == (1.0, 2.0)


def test_v1_unlimited_memory(tmp_path):
    """The kernel's huge number is no limit."""
    files = {
        "cpuacct/cpuacct.usage": "1",
        "memory/memory.usage_in_bytes": "100",
        "memory/memory.stat": "hierarchical_memory_limit 9223372036854771712\ntotal_inactive_file 40\n",
    }
    memory = open_cgroup(_write(tmp_path, files), "/").memory()
    assert memory is not None
    assert (memory.working_set, memory.limit) == (60, None)


def test_hybrid_set_up_takes_pressure_from_the_unified_hierarchy(tmp_path):
    """systemd's hybrid layout: v1 controllers, v2 beside them."""
    pressure = "some avg10=0 avg60=0 avg300=0 total=1000000\n"
    files = {"cpu,cpuacct/s/cpuacct.usage": "1", "unified/s/cpu.pressure": pressure}
    found = open_cgroup(_write(tmp_path, files), "/s").pressure("cpu")
    assert found is not None
    assert found.some == 1.0


def test_missing_cgroup_is_named(tmp_path):
    """For the message of a wrong option."""
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        open_cgroup(_write(tmp_path, {"cgroup.controllers": ""}), "/nowhere")


def test_malformed_file(tmp_path):
    """An error that names the file, for the collector's log line."""
    with pytest.raises(ParseError, match=r"cpu\.max"):
        _v2(tmp_path, **{"a__b__cpu.max": "fast\n"}).cpu()
