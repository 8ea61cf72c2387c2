import shutil

import pytest

from exporter.procfs.cgroup import open_cgroup
from exporter.procfs.cgroup_io import CgroupIo
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


def _memory(used, inactive=0, **limits):
    return {"memory.current": f"{used}\n", "memory.stat": f"inactive_file {inactive}\n"} | {
        f"memory.{name}": f"{value}\n" for name, value in limits.items()
    }


def _slice(tmp_path, above, own):
    """A v2 cgroup in a slice, by the memory of each."""
    files = {f"a__{name}": text for name, text in above.items()} | {f"a__b__{name}": text for name, text in own.items()}
    return _v2(tmp_path, **files).memory()


def test_siblings_fill_the_slice(tmp_path):
    """Its own limit is far away, that of the slice is not; cache that nobody uses makes room."""
    memory = _slice(tmp_path, _memory(950, 100, max=1000), _memory(100, max=800))
    assert (memory.working_set, memory.limit, memory.room) == (100, 800, 150)


def test_above_memory_high_work_is_slowed_down(tmp_path):
    """So it is where the room ends."""
    memory = _slice(tmp_path, _memory(100), _memory(100, max=800, high=300))
    assert (memory.limit, memory.room) == (300, 200)


def test_memory_without_limits(tmp_path):
    memory = _slice(tmp_path, _memory(100, max="max", high="max"), _memory(100, max="max"))
    assert (memory.limit, memory.room) == (None, None)


def test_a_cgroup_that_was_removed_is_a_failure(tmp_path):
    """Not a kernel without controllers: there is no such node any more."""
    v1 = _write(tmp_path / "1", {"cpuacct/s/cpuacct.usage": "1", "memory/s/memory.stat": "", "unified/s/x": ""})
    for cgroup, folders in ((_v2(tmp_path / "2"), ["2/a/b"]), (open_cgroup(v1, "/s"), ["1/cpuacct/s", "1/memory/s"])):
        assert cgroup.cpu() is not None
        assert cgroup.memory() is None
        for folder in folders:
            shutil.rmtree(tmp_path / folder)
        for ask in (cgroup.cpu, cgroup.memory, cgroup.io, lambda cgroup=cgroup: cgroup.pressure("cpu")):
            with pytest.raises(FileNotFoundError, match="is gone"):
                ask()


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


@pytest.mark.parametrize(("hierarchical", "room"), [(1000, 150), (5000, 1100)])
def test_v1_siblings_fill_the_cgroup_above(tmp_path, hierarchical, room):
    """Unless memory.use_hierarchy is off, and the limit above does not bind."""
    files = {
        "cpuacct/s/t/cpuacct.usage": "1",
        "memory/s/memory.usage_in_bytes": "950",
        "memory/s/memory.stat": "total_inactive_file 100\n",
        "memory/s/memory.limit_in_bytes": "1000",
        "memory/s/t/memory.usage_in_bytes": "100",
        "memory/s/t/memory.stat": f"hierarchical_memory_limit {hierarchical}\n",
        "memory/s/t/memory.limit_in_bytes": "1200",
    }
    memory = open_cgroup(_write(tmp_path, files), "/s/t").memory()
    assert memory is not None
    assert (memory.limit, memory.room) == (min(hierarchical, 1200), room)


def test_v1_io_of_the_group_alone_on_an_old_kernel(tmp_path):
    """Without the files that include the groups below."""
    files = {
        "cpuacct/s/cpuacct.usage": "1",
        "blkio/s/blkio.throttle.io_serviced": "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
        "blkio/s/blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\nTotal 30\n",
    }
    cgroup = open_cgroup(_write(tmp_path, files), "/s")
    assert cgroup.io() == {"8:0": CgroupIo(1, 10, 2, 20)}
    (tmp_path / "blkio/s/blkio.throttle.io_serviced").unlink()
    assert cgroup.io() is None


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
    for text in ("fast\n", "0 100000\n", "1000 0\n", "-1 100000\n"):
        with pytest.raises(ParseError, match=r"cpu\.max"):
            _v2(tmp_path, **{"a__b__cpu.max": text}).cpu()
