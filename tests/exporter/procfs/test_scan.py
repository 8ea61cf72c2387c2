import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.procfs.clock import CpuClockGate, clocks_work, gate_for
from exporter.procfs.population import ClockedPopulation, ListedPopulation
from exporter.procfs.process import Procfs
from exporter.procfs.read import read_text
from exporter.procfs.scan import ProcessScan, Significance
from exporter.procfs.system import parse_stat

ALL = Significance(top=100, min_rss=4 << 20, min_cpu=0.005, cores=4, memory=16 << 30)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def _listed(proc, clock):
    procfs = Procfs(proc)
    return ProcessScan(procfs, ListedPopulation(procfs), clock)


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
    scan = _listed(proc, clock)
    assert _cores(scan.sample(0, ALL))[4242] is None
    clock.now += 10
    _set(proc, 4242, utime=360500)
    assert _cores(scan.sample(0, ALL))[4242] == pytest.approx(0.5)


def test_small_sleeper_matters_once_it_works(proc, clock):
    """4400 is below every threshold until it uses CPU, and is dropped again when it stops."""
    scan = _listed(proc, clock)
    assert 4400 not in _cores(scan.sample(0, ALL))
    clock.now += 10
    _set(proc, 4400, utime=100)
    assert _cores(scan.sample(0, ALL))[4400] == pytest.approx(0.1)
    clock.now += 10
    assert 4400 not in _cores(scan.sample(0, ALL))


def test_reused_pid_is_a_new_process(proc, clock):
    """Its CPU time counts from its own birth, not as a difference to the predecessor's."""
    scan = _listed(proc, clock)
    scan.sample(0, ALL)
    clock.now += 10
    _set(proc, 4242, utime=200, stime=0, start=999999)
    assert _cores(scan.sample(0, ALL))[4242] == pytest.approx(0.2)


def test_kernel_threads_and_zombies_never_matter(proc, clock):
    """However little the thresholds ask for."""
    scan = _listed(proc, clock)
    everything = Significance(top=100, min_rss=0, min_cpu=0, cores=4, memory=1 << 30)
    assert not {2, 4500} & _cores(scan.sample(0, everything)).keys()


def test_bounded_and_most_demanding_first(proc, clock):
    """The bound keeps the right ones; a GPU's users come before all others."""
    scan = _listed(proc, clock)
    two = Significance(top=2, min_rss=4 << 20, min_cpu=0.005, cores=4, memory=16 << 30)
    assert list(_cores(scan.sample(0, two))) == [4242, 1]
    assert list(_cores(scan.sample(0, two, always={4400}))) == [4400, 4242]


def test_vanishing_processes_are_forgotten(proc, clock):
    """Memory does not grow with every process that ever ran."""
    scan = _listed(proc, clock)
    scan.sample(0, ALL)
    (proc / "4242" / "stat").unlink()
    assert 4242 not in _cores(scan.sample(0, ALL))
    assert not {4242} & (scan._looked.keys() | scan._significant.keys())


def _spawn(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def _needs_clocks():
    if not clocks_work(Path("/proc")):
        pytest.skip("this kernel has no readable process CPU clocks")


def test_the_clocks_change_no_answer():
    """On the live machine, by CPU clocks and by listing: the same processes, the same figures."""
    _needs_clocks()
    procfs, clock = Procfs(), Clock()
    clocked = ProcessScan(procfs, ClockedPopulation(procfs), clock)
    listed = ProcessScan(procfs, ListedPopulation(procfs), clock)
    forks = parse_stat(read_text("/proc/stat")).forks
    clocked.sample(forks, ALL), listed.sample(forks, ALL)
    sleeper = _spawn("import time; x = bytearray(8 << 20); print(flush=True); time.sleep(60)")
    worker = _spawn("print(flush=True)\nwhile True: pass")
    mine = {sleeper.pid, worker.pid}
    try:
        for child in (sleeper, worker):
            child.stdout.readline()
        used = {}
        for _ in range(20):  # more than one refresh of the sleepers
            clock.now += 1
            time.sleep(0.02)
            forks = parse_stat(read_text("/proc/stat")).forks
            lower = Procfs().stat(worker.pid).ticks
            first, second = (
                {found.stat.pid: found for found in scan.sample(forks, ALL) if found.stat.pid in mine}
                for scan in (clocked, listed)
            )
            upper = Procfs().stat(worker.pid).ticks
            assert first.keys() == second.keys() == mine
            for found in (first, second):
                assert lower - 2 <= found[worker.pid].cpu_ns / 1e7 <= upper + 2  # ticks, of which two may be cut off
                assert found[sleeper.pid].stat.rss == pytest.approx(first[sleeper.pid].stat.rss, rel=0.02)
            if used:
                assert first[worker.pid].cores == pytest.approx((first[worker.pid].cpu_ns - used[worker.pid]) / 1e9)
                assert second[sleeper.pid].cores == pytest.approx(first[sleeper.pid].cores, abs=0.02)
            used = {pid: found.cpu_ns for pid, found in first.items()}
    finally:
        for child in (sleeper, worker):
            child.kill()
            child.wait()
            child.stdout.close()


def test_gate_sees_exactly_who_worked():
    """Asleep: unmoved. Working, new or gone: moved."""
    _needs_clocks()
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
