import contextlib
import os
import subprocess
import sys
import time

import pytest

from exporter.procfs.clock import CpuClockGate, gate_for
from exporter.procfs.process import Procfs
from exporter.procfs.scan import ProcessScan, Significance

ALL = Significance(top=100, min_rss=4 << 20, min_cpu=0.005, cores=4, memory=16 << 30)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def _set(proc, pid, **changes):
    path = proc / str(pid) / "stat"
    fields = path.read_bytes().split(b") ")
    rest = fields[1].split()
    for name, value in changes.items():
        rest[{"utime": 11, "stime": 12, "start": 19, "rss": 21, "state": 0}[name]] = str(value).encode()
    path.write_bytes(fields[0] + b") " + b" ".join(rest) + b"\n")


def _cores(found):
    return {process.stat.pid: process.cores for process in found}


def test_rate_needs_two_looks(proc, clock):
    """The first reading is no zero: it is not known."""
    scan = ProcessScan(Procfs(proc), None, clock)
    assert _cores(scan.sample(ALL))[4242] is None
    clock.now += 10
    _set(proc, 4242, utime=360500)
    assert _cores(scan.sample(ALL))[4242] == pytest.approx(0.5)


def test_small_sleeper_matters_once_it_works(proc, clock):
    """4400 is below every threshold until it uses CPU, and is dropped again when it stops."""
    scan = ProcessScan(Procfs(proc), None, clock)
    assert 4400 not in _cores(scan.sample(ALL))
    clock.now += 10
    _set(proc, 4400, utime=100)
    assert _cores(scan.sample(ALL))[4400] == pytest.approx(0.1)
    clock.now += 10
    assert 4400 not in _cores(scan.sample(ALL))


def test_reused_pid_is_a_new_process(proc, clock):
    """Its CPU time counts from its own birth, not as a difference to the predecessor's."""
    scan = ProcessScan(Procfs(proc), None, clock)
    scan.sample(ALL)
    clock.now += 10
    _set(proc, 4242, utime=200, stime=0, start=999999)
    assert _cores(scan.sample(ALL))[4242] == pytest.approx(0.2)


def test_kernel_threads_and_zombies_never_matter(proc, clock):
    """However little the thresholds ask for."""
    scan = ProcessScan(Procfs(proc), None, clock)
    everything = Significance(top=100, min_rss=0, min_cpu=0, cores=4, memory=1 << 30)
    assert not {2, 4500} & _cores(scan.sample(everything)).keys()


def test_bounded_and_most_demanding_first(proc, clock):
    """The bound keeps the right ones; a GPU's users come before all others."""
    scan = ProcessScan(Procfs(proc), None, clock)
    two = Significance(top=2, min_rss=4 << 20, min_cpu=0.005, cores=4, memory=16 << 30)
    assert list(_cores(scan.sample(two))) == [4242, 1]
    assert list(_cores(scan.sample(two, always={4400}))) == [4400, 4242]


def test_vanishing_processes_are_forgotten(proc, clock):
    """Memory does not grow with every process that ever ran."""
    scan = ProcessScan(Procfs(proc), None, clock)
    scan.sample(ALL)
    (proc / "4242" / "stat").unlink()
    assert 4242 not in _cores(scan.sample(ALL))
    assert 4242 not in scan._known


def _spawn(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def test_the_gate_changes_no_answer():
    """On the live machine, with the CPU clocks and without: the same processes, the same figures."""
    procfs, clock = Procfs(), Clock()
    gate = gate_for(procfs.root)
    if gate is None:
        pytest.skip("this kernel has no readable process CPU clocks")
    gated, plain = ProcessScan(procfs, gate, clock), ProcessScan(procfs, None, clock)
    sleeper = _spawn("import time; x = bytearray(8 << 20); print(flush=True); time.sleep(60)")
    worker = _spawn("print(flush=True)\nwhile True: pass")
    try:
        for child in (sleeper, worker):
            child.stdout.readline()
        for _ in range(20):  # more than one refresh of the sleepers
            clock.now += 1
            time.sleep(0.02)
            one, two = gated.sample(ALL), plain.sample(ALL)
            mine = {sleeper.pid, worker.pid}
            first = {found.stat.pid: found for found in one if found.stat.pid in mine}
            second = {found.stat.pid: found for found in two if found.stat.pid in mine}
            assert first.keys() == second.keys() == mine
            for pid in mine:
                assert abs(first[pid].stat.ticks - second[pid].stat.ticks) <= 10  # read a moment later
                assert first[pid].stat.rss == pytest.approx(second[pid].stat.rss, rel=0.02)
    finally:
        for child in (sleeper, worker):
            child.kill()
            child.wait()
            child.stdout.close()


def test_gate_sees_exactly_who_worked():
    """Asleep: unmoved. Working, new or gone: moved."""
    if gate_for(Procfs().root) is None:
        pytest.skip("this kernel has no readable process CPU clocks")
    gate = CpuClockGate()
    child = _spawn("import time; print(flush=True); time.sleep(60)")
    try:
        child.stdout.readline()
        time.sleep(0.1)
        assert gate.moved([child.pid]) == [child.pid]
        assert gate.moved([child.pid, os.getpid()]) == [os.getpid()]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert gate.moved([child.pid]) == [child.pid]


def test_no_gate_over_a_foreign_proc(proc):
    """A fixture's, or a host's /proc inside a container: pids there are not pids here."""
    assert gate_for(proc) is None
    (proc / "self").unlink()
    with contextlib.suppress(FileExistsError):
        (proc / "self").symlink_to("1")
    assert gate_for(proc) is None
