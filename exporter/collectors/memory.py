"""Memory and swap: of the host, or of the cgroup against its limit."""

from collections.abc import Iterator

from exporter.collectors.base import DETAIL_MISSING, Collector, Node
from exporter.metrics import Kind, Metric, Sample
from exporter.procfs.cgroup import Cgroup
from exporter.procfs.read import read_text
from exporter.procfs.system import Memory, parse_meminfo

TOTAL = Metric(
    "grid_node_memory_total_bytes",
    Kind.GAUGE,
    "Memory the node can use: of the host, or with --scope=cgroup the limit (v2: memory.high counts as one).",
    "bytes",
    example="sum(grid_node_memory_total_bytes)",
)
AVAILABLE = Metric(
    "grid_node_memory_available_bytes",
    Kind.GAUGE,
    "Memory that new work could take without swapping.",
    "bytes",
    example="grid_node_memory_available_bytes < 2 * 1024 ^ 3",
)
USED_RATIO = Metric(
    "grid_node_memory_used_ratio",
    Kind.GAUGE,
    "Share of the memory that is not available; with --scope=cgroup the working set by the limit, its own or that of a "
    "cgroup above.",
    "ratio 0-1",
    example="grid_node_memory_used_ratio > 0.7",
)
SWAP_TOTAL = Metric("grid_node_swap_total_bytes", Kind.GAUGE, "Swap space the node can use.", "bytes")
SWAP_USED = Metric(
    "grid_node_swap_used_bytes",
    Kind.GAUGE,
    "Swap space in use.",
    "bytes",
    example="deriv(grid_node_swap_used_bytes[5m])",
)


class MemoryCollector(Collector):
    """/proc/meminfo, and the memory controller of the cgroup."""

    name = "memory"
    metrics = (TOTAL, AVAILABLE, USED_RATIO, SWAP_TOTAL, SWAP_USED)

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Sample]:
        """The host's figures also bound those of a cgroup."""
        host = parse_meminfo(read_text(self._node.procfs.root / "meminfo"))
        if self._node.cgroup is not None:
            yield from _of_cgroup(self._node.cgroup, host)
            return
        yield DETAIL_MISSING.sample(False, "memory")
        yield DETAIL_MISSING.sample(False, "swap")
        yield from _use(host.total, host.available, host.available)
        yield SWAP_TOTAL.sample(host.swap_total)
        yield SWAP_USED.sample(max(0, host.swap_total - host.swap_free))


def _of_cgroup(cgroup: Cgroup, host: Memory) -> Iterator[Sample]:
    memory = cgroup.memory()
    yield DETAIL_MISSING.sample(memory is None, "memory")
    yield DETAIL_MISSING.sample(memory is None or memory.swap_used is None, "swap")
    if memory is None:
        return
    total = host.total if memory.limit is None else min(memory.limit, host.total)
    room = max(0, total - memory.working_set) if memory.room is None else min(total, memory.room)
    available = min(room, host.available)
    yield from _use(total, available, available if total == host.total else room)
    if memory.swap_used is not None:
        swap_limit = host.swap_total if memory.swap_limit is None else min(memory.swap_limit, host.swap_total)
        yield SWAP_TOTAL.sample(swap_limit)
        yield SWAP_USED.sample(memory.swap_used)


def _use(total: int, available: int, unused: int) -> Iterator[Sample]:
    yield TOTAL.sample(total)
    yield AVAILABLE.sample(available)
    if total:
        yield USED_RATIO.sample(min(1.0, max(0.0, 1 - unused / total)))
