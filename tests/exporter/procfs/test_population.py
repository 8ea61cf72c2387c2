"""Who exists and who worked, told by CPU clocks and pid ranges, on the live machine."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from exporter.procfs.clock import clocks_work
from exporter.procfs.population import ClockedPopulation, ListedPopulation, population_of
from exporter.procfs.process import Procfs
from exporter.procfs.read import read_text
from exporter.procfs.scan import ProcessScan, Significance
from exporter.procfs.system import parse_stat

PROJECT = Path(__file__).parents[3]
EVERYTHING = Significance(top=10_000, min_rss=0, min_cpu=0, cores=4, memory=16 << 30)


class Unlistable(Procfs):
    """May be listed so many times: what is found afterwards is found without, unless pids just go round."""

    lists = 1

    def __init__(self):
        super().__init__()
        self._last_pid = self._given_out()

    def pids(self):
        assert self.lists > 0 or self._given_out() < self._last_pid, "listed again"
        self.lists -= 1
        return super().pids()

    def _given_out(self):
        return int((self.root / "loadavg").read_text().split()[-1])


@pytest.fixture
def population():
    if not clocks_work(Path("/proc")):
        pytest.skip("this kernel has no readable process CPU clocks")
    return ClockedPopulation(Unlistable())


def _forks():
    return parse_stat(read_text("/proc/stat")).forks


@contextlib.contextmanager
def _child(code="import time; time.sleep(60)"):
    ready = f"print(flush=True)\n{code}"
    child = subprocess.Popen([sys.executable, "-c", ready], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _tasks(pid):
    return {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()}


def _pids(found):
    return {one.pid for one in found}


def test_life_of_a_process_without_listing(population):
    """Born, asleep, gone: each told once, at the price of its clock."""
    first = population.look(_forks())
    assert os.getpid() in _pids(first.born)
    assert all(one.since is None for one in first.born)
    with _child() as child:
        look = population.look(_forks())
        born = {one.pid: one for one in look.born}
        assert born[child.pid].since == born[child.pid].total > 0
        deadline = time.monotonic() + 10
        while Procfs().stat(child.pid).state != "S":  # it works until then, whenever the node lets it
            assert time.monotonic() < deadline
        population.look(_forks())
        look = population.look(_forks())
        assert child.pid not in _pids(look.born) | _pids(look.worked)
    assert child.pid in population.look(_forks()).gone
    assert child.pid not in population.look(_forks()).gone


def test_a_worker_is_told_with_what_it_used(population):
    population.look(_forks())
    before = time.process_time_ns()
    while time.process_time_ns() - before < 20_000_000:
        pass
    [own] = [one for one in population.look(_forks()).worked if one.pid == os.getpid()]
    assert own.since >= 20_000_000
    assert own.total >= own.since


def test_threads_are_no_processes(population):
    """Neither another program's nor our own, the calling one included, for which the kernel would answer."""
    population.look(_forks())
    found = []
    stop = threading.Event()
    waiting = [threading.Thread(target=stop.wait) for _ in range(5)]
    caller = threading.Thread(target=lambda: found.extend(_pids(population.look(_forks()).born)))
    code = "import threading, time; [threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(5)]"
    try:
        for thread in waiting:
            thread.start()
        with _child(code + "\nprint(flush=True)") as child:
            child.stdout.readline()
            caller.start()
            caller.join()
            tasks = _tasks(child.pid) - {child.pid}
    finally:
        stop.set()
        for thread in waiting:
            thread.join()
    assert child.pid in found
    assert len(tasks) == 5
    assert not set(found) & (tasks | _tasks(os.getpid()) | {thread.native_id for thread in (*waiting, caller)})


def test_a_pid_out_of_order_is_found_by_the_next_listing():
    """clone3 with set_tid, as CRIU does: not in the range; what it used before is not taken for a burst."""
    procfs = Unlistable()
    procfs.lists = 2
    population = ClockedPopulation(procfs)
    forks = _forks()
    population.look(forks)
    with _child() as child:
        for _ in range(19):
            assert child.pid not in _pids(population.look(forks).born)  # no fork was counted: nothing to look for
        born = {one.pid: one for one in population.look(forks).born}
        assert born[child.pid].since is None


STORM = """
import os, time
for _ in range(300):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
pids = []
for _ in range(20):
    pids.append(os.fork())
    if pids[-1] == 0:
        time.sleep(60)
        os._exit(0)
print(*pids, flush=True)
os.read(0, 1)
for pid in pids:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
"""


def test_fork_storm(population):
    """Hundreds that come and go between two looks leave nothing behind; those that stay are all found."""
    population.look(_forks())
    storm = subprocess.Popen([sys.executable, "-c", STORM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        children = {int(pid) for pid in storm.stdout.readline().split()}
        born = _pids(population.look(_forks()).born)
    finally:
        storm.communicate("\n")
    assert len(children) == 20
    assert children | {storm.pid} <= born
    assert children <= set(population.look(_forks()).gone)
    assert not children & population._known


EXIT = {"x86_64": 60}.get(os.uname().machine, 93)
"""Number of exit(2), which ends the calling thread alone: of x86-64, and of all newer architectures."""


def test_one_whose_first_thread_ended_still_runs():
    """A zombie by its first thread, work by the others: it goes on being reported, with its memory."""
    code = (
        "import ctypes, threading\n"
        "data = bytearray(16 << 20)\n"
        "threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()\n"
        f"ctypes.CDLL(None).syscall({EXIT}, 0)\n"
    )
    procfs = Procfs()
    with _child(code) as child:
        deadline = time.monotonic() + 10
        while procfs.stat(child.pid).state != "Z" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert procfs.stat(child.pid).state == "Z"
        for population in (population_of(procfs), ListedPopulation(procfs)):
            found = ProcessScan(procfs, population).sample(_forks(), EVERYTHING)
            [process] = [one for one in found if one.stat.pid == child.pid]
            assert process.stat.rss * procfs.page_size > 16 << 20
            assert procfs.statm(process.memory).resident == pytest.approx(process.stat.rss, rel=0.1)


TWICE_THE_SAME_PID = """
import subprocess, sys
from exporter.procfs.population import ClockedPopulation, population_of
from exporter.procfs.process import Procfs
from exporter.procfs.scan import ProcessScan, Significance
from exporter.procfs.system import parse_stat
from exporter.procfs.read import read_text
def forks(): return parse_stat(read_text("/proc/stat")).forks
def start(size):
    code = f"x = bytearray({size}); print(flush=True); import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    return child
procfs = Procfs()
population = population_of(procfs)
assert isinstance(population, ClockedPopulation)
scan = ProcessScan(procfs, population)
limits = Significance(100, 4 << 20, 0.005, 2, 1 << 34)
def rss(pid):
    found = scan.sample(forks(), limits)
    return next((one.stat.rss * procfs.page_size >> 20 for one in found if one.stat.pid == pid), None)
rss(1)
first = start(64 << 20)
print(rss(first.pid))
first.kill(); first.wait()
open("/proc/sys/kernel/ns_last_pid", "w").write(str(first.pid - 1))
second = start(128 << 20)
assert second.pid == first.pid
print(rss(second.pid))
second.kill(); second.wait()
"""


BELOW_THE_OTHERS = """
import subprocess
from exporter.procfs.population import ClockedPopulation
from exporter.procfs.process import Procfs
from exporter.procfs.system import parse_stat
from exporter.procfs.read import read_text
class NeverListed(Procfs):
    def pids(self): raise AssertionError("listed")
    def pids_from(self, first): raise AssertionError("listed")
def forks(): return parse_stat(read_text("/proc/stat")).forks
def start(last_pid=None):
    if last_pid:
        open("/proc/sys/kernel/ns_last_pid", "w").write(str(last_pid))
    return subprocess.Popen(["sleep", "60"])
children = [start(20_000), *(start() for _ in range(100))]
population = ClockedPopulation(Procfs())
population.look(forks())
children += [start(1000)]
assert children[-1].pid in {one.pid for one in population.look(forks()).born}
population._procfs = NeverListed()
children += [start(), start()]
print(*({one.pid for one in population.look(forks()).born} ^ {child.pid for child in children[-2:]}))
children[-1].kill(), children[-1].wait()
print(*({*population.look(forks()).gone} ^ {children[-1].pid}))
"""


def _in_own_pid_namespace(code):
    if os.geteuid() != 0:
        pytest.skip("needs root, for a pid namespace of its own")
    own_namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    run = subprocess.run(
        [*own_namespace, sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=PROJECT, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.root
def test_a_pid_that_goes_round_is_somebody_else():
    """In a pid namespace whose counter is set back, the same pid is given out twice: two processes, not one."""
    first, second = map(int, _in_own_pid_namespace(TWICE_THE_SAME_PID).split())
    assert first in range(64, 100)
    assert second in range(128, 164)


@pytest.mark.root
def test_after_a_round_trip_of_the_pids_a_new_process_does_not_cost_a_listing_of_all_that_were_there_before():
    assert not _in_own_pid_namespace(BELOW_THE_OTHERS).strip()


@pytest.mark.parametrize("forks", [None, 7, 8])
def test_where_the_kernel_does_not_tell_what_was_forked(tmp_path, forks):
    """No count of forks, no last pid, or somebody else's over it (lxcfs): listing finds everybody all the same."""
    if not clocks_work(Path("/proc")):
        pytest.skip("this kernel has no readable process CPU clocks")
    with _child() as first:
        (tmp_path / str(first.pid)).mkdir()
        if forks is None:
            (tmp_path / "loadavg").write_text("0.1 0.2 0.3 1/2 77\n")
        elif forks == 8:
            (tmp_path / "loadavg").symlink_to("/proc/loadavg")  # from another file system
        population = ClockedPopulation(Procfs(tmp_path))
        assert _pids(population.look(forks).born) == {first.pid}
        with _child() as second:
            (tmp_path / str(second.pid)).mkdir()
            assert _pids(population.look(forks).born) == {second.pid}
