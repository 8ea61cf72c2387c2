import pytest

from exporter.collectors.memory import MemoryCollector
from exporter.procfs.cgroup import CgroupMemory

GIB = 1 << 30
HOST_TOTAL, HOST_AVAILABLE = 16384000 << 10, 4096000 << 10


class Slice:
    """A cgroup that answers as told."""

    def __init__(self, memory):
        self._memory = memory

    def memory(self):
        return self._memory


@pytest.fixture
def of(make_node, look):
    """What the collector says of a cgroup with such memory."""

    def values(memory):
        return look(MemoryCollector(make_node(Slice(memory), "/x")))

    return values


def test_a_full_host_leaves_no_room_in_a_cgroup_that_is_not(of):
    """What new work could take is less than the limit allows; the cgroup itself is not full."""
    values = of(CgroupMemory(GIB, 8 * GIB, 7 * GIB, 0, None))
    assert values["memory_available_bytes"] == HOST_AVAILABLE
    assert values["memory_used_ratio"] == pytest.approx(1 / 8)


def test_siblings_fill_the_limit_above(of):
    """A gibibyte used of eight, but the slice has room for one more only."""
    values = of(CgroupMemory(GIB, 8 * GIB, GIB, 0, None))
    assert (values["memory_available_bytes"], values["memory_used_ratio"]) == (GIB, pytest.approx(7 / 8))


def test_without_a_limit_the_hosts_memory_counts(of):
    """A quarter of it is free, whoever uses the rest."""
    values = of(CgroupMemory(GIB, None, None, None, None))
    assert values["memory_total_bytes"] == HOST_TOTAL
    assert values["memory_used_ratio"] == pytest.approx(0.75)
    assert (values["missing:memory"], values["missing:swap"]) == (0, 1)
    assert "swap_used_bytes" not in values


def test_a_cgroup_without_the_controller_says_so(of):
    """No figures of the host in place of its own."""
    assert of(None) == {"missing:memory": 1, "missing:swap": 1}
