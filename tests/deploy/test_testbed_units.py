"""Parts of the test bed that need no privileges."""

import socket
import struct
from pathlib import Path

import pytest
from _testbed import cgroups, errors, files, settings, witness
from _testbed.shell import run, wait_until

V1 = """\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:29 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
35 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
36 30 0:27 / /mnt/again rw,relatime - cgroup cgroup rw,cpu,cpuacct
"""
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hybrid_hierarchies():
    """Controllers that are mounted together stay together; unused and repeated mounts are left out."""
    found = cgroups.parse(V1)
    assert [(str(each.mount), each.options) for each in found] == [
        ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"),
        ("/sys/fs/cgroup/memory", "memory"),
        ("/sys/fs/cgroup/unified", ""),
    ]


def test_unified_hierarchy():
    assert [each.unified for each in cgroups.parse(V2)] == [True]


@pytest.fixture
def unified(tmp_path):
    """A cgroup v2 tree made of ordinary files."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    for directory in (tmp_path, tmp_path / "gt", tmp_path / "gt/gpu1"):
        directory.mkdir(exist_ok=True)
        for name in ("cgroup.subtree_control", "cpu.max", "memory.max", "cgroup.procs"):
            (directory / name).write_text("")
    return tmp_path


def group_in(unified):
    return cgroups.Group("gt/gpu1", (cgroups.Hierarchy(unified, ""),))


def test_v2_controllers_are_handed_down(unified):
    group_in(unified).create()
    assert (unified / "cgroup.subtree_control").read_text() == "+pids"  # the last of three writes
    assert (unified / "gt/cgroup.subtree_control").read_text() == "+pids"
    assert (unified / "gt/gpu1/cgroup.subtree_control").read_text() == ""


def test_v2_limits(unified):
    group_in(unified).limit(0.66, 1 << 30)
    assert (unified / "gt/gpu1/cpu.max").read_text() == "66000 100000"
    assert (unified / "gt/gpu1/memory.max").read_text() == "1073741824"


def test_settings_from_the_environment(tmp_path):
    got = settings.load({"GRID_TESTBED_NAME": "xy", "GRID_TESTBED_SUBNET": "10.9.0.0/24", "GRID_TESTBED_CPU": "1.5"})
    assert (got.bridge, got.host_ip, got.cpu) == ("xybr0", "10.9.0.254", 1.5)
    assert [(node.name, node.ip, node.role) for node in got.nodes] == [
        ("gpu-master", "10.9.0.1", "head"), ("gpu1", "10.9.0.2", "worker"), ("gpu2", "10.9.0.3", "worker"),
    ]  # fmt: skip


def test_running_test_bed_keeps_its_settings(tmp_path):
    """Commands find what `up` was told, whatever the environment says later."""
    settings.Settings(name="xy", subnet="10.9.0.0/24", directory=str(tmp_path)).save()
    assert settings.load({"GRID_TESTBED_DIR": str(tmp_path)}).subnet == "10.9.0.0/24"


@pytest.mark.parametrize(
    "environment",
    [
        {"GRID_TESTBED_NAME": "far-too-long"},
        {"GRID_TESTBED_NAME": "a/b"},
        {"GRID_TESTBED_SUBNET": "10.77.0.1/24"},
        {"GRID_TESTBED_CPU": "half"},
        {"GRID_TESTBED_MEMORY": "6G"},
        {"GRID_TESTBED_CGROUPS": "v3"},
    ],
)
def test_bad_settings_are_named(environment):
    with pytest.raises(errors.TestbedError, match="GRID_TESTBED"):
        settings.load(environment)


def test_unknown_node_names_the_known_ones():
    with pytest.raises(errors.TestbedError, match="gpu-master, gpu1, gpu2"):
        settings.Settings().node("gpu9")


def test_witness_takes_time_and_sender_from_the_kernel():
    ancillary = [
        (socket.SOL_SOCKET, witness.SO_TIMESTAMPNS, struct.pack("=qq", 5, 500_000_000)),
        (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("=iii", 42, 1001, 1001)),
    ]
    data = b'{"load":"x","node":"n","start_id":"s","pid":7,"seq":1,"leader":true,"mono":1.0,"t":999}'
    record = witness.parse(data, ancillary)
    assert (record["t"], record["host_pid"], record["uid"], record["pid"]) == (5.5, 42, 1001, 7)
    assert "saved" not in record


def test_witness_passes_on_what_a_load_saved():
    data = b'{"load":"x","node":"n","start_id":"s","pid":7,"seq":9,"leader":true,"mono":1.0,"saved":8,"more":1}'
    record = witness.parse(data, [])
    assert record is not None
    assert (record["saved"], "more" in record) == (8, False)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b"3"])
def test_witness_ignores_what_is_no_sign_of_life(data):
    assert witness.parse(data, []) is None


def test_failed_program_is_quoted():
    with pytest.raises(errors.TestbedError, match="exit 3: oh no"):
        run(["sh", "-c", "echo oh no >&2; exit 3"])
    with pytest.raises(errors.TestbedError, match="deploy/setup"):
        run(["no-such-program-here"])


def test_condition_that_never_holds_is_named():
    with pytest.raises(errors.TestbedError, match=r"the moon: not within 0\.1 s"):
        wait_until(lambda: False, 0.1, "the moon")


def test_sample_load_is_plain_python():
    """It runs with any system's Python: nothing but the standard library is imported."""
    import ast
    import sys

    tree = ast.parse(Path(witness.__file__).with_name("load.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names <= set(sys.stdlib_module_names)


def test_directories_closed_to_users_are_found(tmp_path):
    """The topmost one is enough: what lies below is laid over it afresh."""
    inner = tmp_path / "home/deep/project"
    inner.mkdir(parents=True)
    for directory in [inner, *inner.parents]:
        if directory.is_relative_to(tmp_path):
            directory.chmod(0o755)
    (tmp_path / "home").chmod(0o700)
    (tmp_path / "home/deep").chmod(0o700)
    above = files._closed(tmp_path)  # pytest's own directory may be closed already
    assert files._closed(inner) == (above or [tmp_path / "home"])
