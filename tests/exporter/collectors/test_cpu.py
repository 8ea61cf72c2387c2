import pytest

from exporter.collectors.base import Node
from exporter.collectors.cpu import CpuCollector
from exporter.nvml import GpuSampler
from exporter.procfs.cgroup import CgroupCpu
from exporter.procfs.process import Procfs
from exporter.settings import Settings


class Slice:
    """A cgroup with 0.66 of a core."""

    used = 100.0

    def cpu(self):
        return CgroupCpu(self.used, self.used, 0.0, 0.66, None)


@pytest.fixture
def node(proc):
    now = [1000.0]
    cgroup = Slice()
    made = Node(Settings(("cpu",)), Procfs(proc), cgroup, GpuSampler(), lambda: now[0])
    return made, cgroup, now


def _ratio(collector):
    return {sample.metric.name: sample.value for sample in collector.collect()}.get("grid_node_cpu_ratio")


def test_a_cgroup_is_busy_relative_to_its_quota(node):
    """Half of 0.66 core is 50 %, whatever the host has; bursts beyond the quota are 100 %."""
    made, cgroup, now = node
    collector = CpuCollector(made)
    assert _ratio(collector) is None
    now[0], cgroup.used = 1010.0, 103.3
    assert _ratio(collector) == pytest.approx(0.5)
    now[0], cgroup.used = 1011.0, 104.3
    assert _ratio(collector) == 1.0


def test_no_ratio_over_a_window_too_short_to_measure(node):
    """Absent instead of noise."""
    made, cgroup, now = node
    collector = CpuCollector(made)
    _ratio(collector)
    now[0], cgroup.used = 1000.01, 100.01
    assert _ratio(collector) is None
