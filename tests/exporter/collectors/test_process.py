"""The process collector over a fixture /proc: what is read, when it is read again, and what one bad file costs."""

import pytest

from exporter.collectors.base import DETAIL_MISSING, Node
from exporter.collectors.process import CPU_SECONDS, INFO, MOVABLE, RESIDENT, SWAP, USS, ProcessCollector
from exporter.nvml import GpuSampler
from exporter.procfs.process import Procfs
from exporter.settings import ProcessLimits, Settings


@pytest.fixture
def collector(proc):
    (proc / "4242" / "environ").write_bytes(b"HOME=/home/alice\0TOKEN=hunter2\0")
    return ProcessCollector(Node(Settings(("process",)), Procfs(proc), None, GpuSampler()))


def _of(collector, pid, *metrics):
    """Series and value of a process, by metric."""
    found = [sample for sample in collector.collect() if f'pid="{pid}"' in sample.series]
    return [(sample.value, sample.series) for metric in metrics for sample in found if sample.metric is metric]


def _details(collector):
    samples = [sample for sample in collector.collect() if sample.metric is DETAIL_MISSING]
    return {sample.series.partition('detail="')[2].partition('"')[0]: sample.value for sample in samples}


@pytest.mark.parametrize("name", ["stat", "statm", "status", "io", "cgroup", "oom_score_adj"])
@pytest.mark.parametrize("garbage", [b"\xff\x00 nonsense", b"4242 (python3) R", b"VmSwap:\tmuch kB\nUid:\tx\n"])
def test_a_file_that_cannot_be_understood_costs_only_its_process(collector, proc, name, garbage):
    """Before it was ever read, and after."""
    assert _of(collector, 4242, CPU_SECONDS)
    (proc / "4242" / name).write_bytes(garbage)
    for one in (collector, ProcessCollector(collector._node)):
        for _ in range(2):
            assert _of(one, 1, CPU_SECONDS)
            assert _of(one, 812, CPU_SECONDS)
        assert _details(one)["process_malformed"] == (name not in ("cgroup", "oom_score_adj") or one is not collector)
    if name == "stat":
        assert not _of(collector, 4242, CPU_SECONDS)


def test_it_comes_back_when_its_stat_can_be_understood_again(collector, proc):
    stat = (proc / "4242" / "stat").read_bytes()
    (proc / "4242" / "stat").write_bytes(b"")
    assert not _of(collector, 4242, CPU_SECONDS)
    (proc / "4242" / "stat").write_bytes(stat)
    assert _of(collector, 4242, CPU_SECONDS)
    assert _details(collector)["process_malformed"] == 0


def test_a_program_that_executes_another_gets_the_new_name_and_class(collector, proc):
    assert 'class="training"' in _of(collector, 4242, INFO)[0][1]
    stat = (proc / "4242" / "stat").read_bytes()
    (proc / "4242" / "stat").write_bytes(stat.replace(b"(python3)", b"(rsync)"))
    (proc / "4242" / "cmdline").write_bytes(b"rsync\0-a\0/x\0host:/y\0")
    [(_, series)] = _of(collector, 4242, INFO)
    assert 'comm="rsync"' in series
    assert 'class="io"' in series
    assert _of(collector, 4242, MOVABLE)[0][0] == 0
    assert 'reason="FILE_TRANSFER"' in _of(collector, 4242, MOVABLE)[0][1]


def test_whether_it_is_movable_follows_what_happens_to_it(collector, proc):
    """In the foreground of a terminal, then in the background, then stopped."""
    assert 'reason="SHELL_WAITING"' in _of(collector, 4242, MOVABLE)[0][1]
    head, _, rest = (proc / "4242" / "stat").read_bytes().rpartition(b") ")
    fields = rest.split()
    fields[5] = b"999"  # the foreground process group of its terminal
    (proc / "4242" / "stat").write_bytes(head + b") " + b" ".join(fields))
    [(value, series)] = _of(collector, 4242, MOVABLE)
    assert (value, 'reason=""' in series) == (1, True)
    (proc / "4242" / "stat").write_bytes(head + b") T " + b" ".join(fields[1:]))
    assert 'reason="STOPPED"' in _of(collector, 4242, MOVABLE)[0][1]


def test_an_owners_wish_is_read_and_nothing_else_of_the_environment(proc):
    (proc / "4242" / "environ").write_bytes(b"TOKEN=hunter2\0GRID_OFFLOAD=never\0")
    collector = ProcessCollector(Node(Settings(("process",)), Procfs(proc), None, GpuSampler()))
    [(value, series)] = _of(collector, 4242, MOVABLE)
    assert (value, 'reason="OPTED_OUT"' in series) == (0, True)
    assert "hunter2" not in repr(collector._followed)


def test_accounts_of_the_system(proc):
    """Which they are is an option, as the controller's min_uid is."""
    limits = ProcessLimits(min_uid=5000)
    collector = ProcessCollector(Node(Settings(("process",), process=limits), Procfs(proc), None, GpuSampler()))
    assert 'reason="SYSTEM_USER"' in _of(collector, 4242, MOVABLE)[0][1]


def test_memory_of_a_process_in_three_figures(collector):
    """Resident with shared pages, swapped out, and what its end would free."""
    values = [value for value, _ in _of(collector, 4242, RESIDENT, SWAP, USS)]
    assert values == [3221225472, 67108864, 3172073472]
