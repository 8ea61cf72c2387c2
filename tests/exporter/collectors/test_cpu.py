import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.cpu import CpuCollector, _Forward
from exporter.procfs.cgroup import CgroupCpu


class Slice:
    """A cgroup with 0.66 of a core."""

    used = 100.0

    def cpu(self):
        return CgroupCpu(self.used, self.used, 0.0, 0.66, None)


class Bare:
    """A cgroup whose CPU time is not accounted."""

    def cpu(self):
        return None


@pytest.fixture
def node(make_node):
    now = [1000.0]
    cgroup = Slice()
    return make_node(cgroup, clock=lambda: now[0]), cgroup, now


def test_a_cgroup_is_busy_relative_to_its_quota(node, look):
    """Half of 0.66 core is 50 %, whatever the host has; bursts beyond the quota are 100 %."""
    made, cgroup, now = node
    collector = CpuCollector(made)
    assert "cpu_ratio" not in look(collector)
    now[0], cgroup.used = 1010.0, 103.3
    assert look(collector)["cpu_ratio"] == pytest.approx(0.5)
    now[0], cgroup.used = 1011.0, 104.3
    assert look(collector)["cpu_ratio"] == 1.0


def test_no_ratio_over_a_window_too_short_to_measure(node, look):
    """Absent instead of noise."""
    made, cgroup, now = node
    collector = CpuCollector(made)
    look(collector)
    now[0], cgroup.used = 1000.01, 100.01
    assert "cpu_ratio" not in look(collector)


def test_a_cgroup_that_is_not_accounted_is_said(make_node, look):
    assert look(CpuCollector(make_node(Bare()))) == {"missing:cpu": 1}


def _stat(proc, idle, iowait):
    (proc / "stat").write_text(f"cpu  100 0 0 {idle} {iowait} 0 0 0 0 0\ncpu0 1\nbtime 1\nprocesses 1\n")


def test_waiting_time_that_steps_back_stands_still(proc, make_node, look):
    """man 5 proc: iowait may decrease. Prometheus would take that for a restart and rate() for an hour in a second."""
    collector = CpuCollector(make_node())
    seen = []
    for iowait in (360_000, 359_990, 360_005):
        _stat(proc, 1000, iowait)
        seen.append(look(collector)["cpu_seconds_total,iowait"])
    assert seen == [3600, 3600, 3600.05]


def test_a_cpu_that_goes_offline_takes_no_idle_time_with_it(proc, make_node, look):
    """Idle time goes on from where it was, neither jumping nor standing still until it is reached again."""
    collector = CpuCollector(make_node())
    seen = []
    for idle in (1_000_000, 600_000, 600_100):
        _stat(proc, idle, 0)
        seen.append(look(collector)["cpu_seconds_total,idle"])
    assert seen == [10_000, 10_000, 10_001]


@given(readings=st.lists(st.integers(0, 10_000)), tolerance=st.integers(0, 500))
def test_no_counter_runs_backwards(readings, tolerance):
    forward = _Forward()
    seen = [forward.value(raw, tolerance) for raw in readings]
    assert seen == sorted(seen)
