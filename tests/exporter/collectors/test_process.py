"""The process collector over a fixture /proc: what is read, when it is read again, and what one bad file costs."""

import pytest

from exporter.collectors.base import DETAIL_MISSING, Node
from exporter.collectors.process import ProcessCollector
from exporter.collectors.process_metrics import (
    CPU_SECONDS,
    GPU_MEMORY,
    GPU_UTILISATION,
    INFO,
    MOVABLE,
    RESIDENT,
    SWAP,
    USS,
)
from exporter.nvml import GpuReport, GpuSampler
from exporter.nvml_reader import Gpu, GpuProcess, MigMode
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
    assert "hunter2" not in repr(collector._following._followed)


def test_accounts_of_the_system(proc):
    """Which they are is an option, as the controller's min_uid is."""
    limits = ProcessLimits(min_uid=5000)
    collector = ProcessCollector(Node(Settings(("process",), process=limits), Procfs(proc), None, GpuSampler()))
    assert 'reason="SYSTEM_USER"' in _of(collector, 4242, MOVABLE)[0][1]


def test_memory_of_a_process_in_three_figures(collector):
    """Resident with shared pages, swapped out, and what its end would free."""
    values = [value for value, _ in _of(collector, 4242, RESIDENT, SWAP, USS)]
    assert values == [3221225472, 67108864, 3172073472]


def _hide(proc, pid, *names):
    for name in names:
        (proc / str(pid) / name).unlink()


def test_what_an_owner_said_and_cannot_be_read_is_not_guessed(proc):
    """An ordinary user's exporter does not call another user's process movable: it says that it does not know."""
    _hide(proc, 4400, "environ", "exe")
    (proc / "4400" / "statm").write_text("9000 8000 200 1 0 500 0\n")
    stat = (proc / "4400" / "stat").read_bytes().split()
    stat[23] = b"8000"
    (proc / "4400" / "stat").write_bytes(b" ".join(stat))
    _hide(proc, 812, "environ", "exe")
    collector = ProcessCollector(Node(Settings(("process",)), Procfs(proc), None, GpuSampler()))
    assert _of(collector, 4400, CPU_SECONDS)
    assert not _of(collector, 4400, MOVABLE)
    assert _details(collector)["process_wish"] == 1
    assert 'reason="PROTECTED"' in _of(collector, 812, MOVABLE)[0][1]  # that much is seen without


def test_a_slice_has_its_processes_however_large_those_beside_it_are(proc):
    """The bound on series holds for the processes of the cgroup in question, not before they are told apart."""
    (proc / "4310" / "cgroup").write_text("0::/batch.slice/node1.scope\n")
    settings = Settings(("process",), cgroup_path="/batch.slice", process=ProcessLimits(top=1))
    collector = ProcessCollector(Node(settings, Procfs(proc), object(), GpuSampler()))
    assert _of(collector, 4310, CPU_SECONDS)
    assert not _of(collector, 4242, CPU_SECONDS)


def test_memory_that_is_swapped_out_goes_on_being_reported(collector, proc):
    """It matters most then; one that was never significant does not come in by its swap."""
    head, _, rest = (proc / "4242" / "stat").read_bytes().rpartition(b") ")
    fields = rest.split()
    fields[21] = b"10"
    assert _of(collector, 4242, SWAP)
    (proc / "4242" / "stat").write_bytes(head + b") " + b" ".join(fields))
    assert [value for value, _ in _of(collector, 4242, SWAP)] == [67108864]
    assert not _of(ProcessCollector(collector._node), 4242, SWAP)


def test_a_program_that_executes_another_of_its_name_is_looked_at_anew(collector, proc):
    """At once where it had only been forked before, else within 64 samples."""
    assert 'class="training"' in _of(collector, 4242, INFO)[0][1]
    (proc / "4242" / "cmdline").write_bytes(b"python3\0serve_vllm.py\0")
    found = [_of(collector, 4242, INFO)[0][1] for _ in range(64)]
    assert 'class="inference"' in found[-1]


def test_a_daemon_that_gives_up_root_is_no_longer_the_systems(collector, proc):
    """Its user is looked at whenever it worked."""
    status = (proc / "4242" / "status").read_text()
    (proc / "4242" / "status").write_text(status.replace("4242\t4242\t4242\t4242", "33\t33\t33\t33"))
    [(_, series)] = _of(collector, 4242, MOVABLE)
    assert 'reason="SYSTEM_USER"' in series
    assert 'user="4242"' not in series


class OneGpu(GpuSampler):
    """In use by 4400, which is small and idle."""

    def report(self):
        used = GpuProcess(4400, 1 << 30, 0.5)
        return GpuReport(
            0.0, (Gpu(0, "GPU-u", "A100", MigMode.DISABLED, 0.5, 8 << 30, 1 << 30, 40, 70.0, {}, (used,)),)
        )


def test_the_users_of_a_gpu_come_first(proc):
    collector = ProcessCollector(Node(Settings(("process",)), Procfs(proc), None, OneGpu()))
    assert [value for value, _ in _of(collector, 4400, GPU_MEMORY, GPU_UTILISATION)] == [1 << 30, 0.5]
    assert _details(collector)["process_gpu"] == 0


def test_in_a_pid_namespace_the_drivers_pids_are_not_believed(proc):
    """They are the host's, or with some drivers half of them: here they would be somebody else's."""
    (proc / "self" / "ns").mkdir(parents=True)
    (proc / "self" / "ns" / "pid").touch()
    collector = ProcessCollector(Node(Settings(("process",)), Procfs(proc), None, OneGpu()))
    assert not _of(collector, 4400, GPU_MEMORY)
    assert _details(collector)["process_gpu"] == 1
    without = ProcessCollector(Node(Settings(("process",)), Procfs(proc), None, GpuSampler()))
    assert _details(without)["process_gpu"] == 0
