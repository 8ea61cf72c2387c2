"""The process collector beside psutil, on the live machine, while processes come and go."""

import contextlib
import os
import random
import subprocess
import sys
import time

import psutil
import pytest

from exporter.collectors.base import Node
from exporter.collectors.process import ProcessCollector
from exporter.collectors.process_metrics import CPU_SECONDS, INFO, RESIDENT
from exporter.nvml import GpuSampler
from exporter.procfs.clock import cpu_nanoseconds
from exporter.procfs.process import Procfs
from exporter.settings import ProcessLimits, Settings

SCRAPES = 200
MIN_RSS = 4 << 20
LIMITS = ProcessLimits(top=10_000, min_rss=MIN_RSS)

CHURN = """
import os, random, sys, time
end = time.monotonic() + 300
random.seed(5)
while time.monotonic() < end:
    pid = os.fork()
    if pid == 0:
        data = bytearray(random.choice((1, 6, 12)) << 20)
        before = time.process_time()
        while time.process_time() - before < random.random() * 0.02:
            pass
        time.sleep(random.random() * 0.4)
        os._exit(0)
    time.sleep(0.02)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
"""
GROWER = """
import time
data = []
while True:
    if len(data) < 512:
        data.append(bytearray(1 << 20))
    time.sleep(0.02)
"""
BUSY = "data = bytearray(32 << 20)\nwhile True: pass"
SLEEPER = "import time; data = bytearray(20 << 20); time.sleep(600)"
FORKED_SLEEPER = "import os, time; data = bytearray(24 << 20)\nif os.fork() == 0: time.sleep(600)\ntime.sleep(600)"


@pytest.fixture
def load():
    """A little of everything; ended by pid, children included."""
    running = [
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        for code in (CHURN, GROWER, BUSY, SLEEPER, SLEEPER, FORKED_SLEEPER)
    ]
    yield running
    for process in running:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


def _ours(collector):
    """(CPU seconds, resident bytes, start in ticks) by pid."""
    found = {}
    for sample in collector.collect():
        if sample.metric in (CPU_SECONDS, RESIDENT):
            found.setdefault(_label(sample, "pid"), {})[sample.metric] = sample.value
        elif sample.metric is INFO:
            found[_label(sample, "pid")][INFO] = _label(sample, "start")
    return {pid: (values[CPU_SECONDS], values[RESIDENT], values[INFO]) for pid, values in found.items()}


def _label(sample, name):
    return int(sample.series.partition(f'{name}="')[2].partition('"')[0])


def _theirs():
    """(CPU seconds, resident bytes, CPU clock) by pid, and those whose first thread ended."""
    found, ended = {}, set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
            times, status = process.cpu_times(), process.status()
            if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                ended.add(process.pid)  # others of its threads may go on, which psutil does not look at
            else:
                clock = cpu_nanoseconds(process.pid)
                found[process.pid] = times.user + times.system, process.memory_info().rss, clock
    return found, ended


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_same_significant_processes_and_figures(load):
    """200 scrapes: who is significant by memory on both sides of ours, CPU within 0.1 s, memory within 2 %.

    psutil looks before and after: what was significant both times must be in ours, and nothing may be in ours that was
    in neither, unless it lived in between alone. CPU time only grows: ours lies between theirs. So does the memory of
    our own load, which never frees any; of other processes that is known only for those that slept in between.
    """
    collector = ProcessCollector(Node(Settings(("process",), process=LIMITS), Procfs(), None, GpuSampler()))
    compared = churned = 0
    random.seed(7)
    _ours(collector)
    for _ in range(SCRAPES):
        begin = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
        (before, ended), ours, (after, _) = _theirs(), _ours(collector), _theirs()
        loaders = {process.pid for process in load}
        loaders |= {child.pid for pid in loaders for child in psutil.Process(pid).children(recursive=True)}
        lasting = (before.keys() & after.keys()) - {os.getpid()}
        churned += len(before.keys() ^ after.keys())
        for pid in lasting:
            (cpu0, rss0, clock0), (cpu1, rss1, clock1) = before[pid], after[pid]
            if rss1 < rss0:
                continue  # it freed memory, or is just ending
            monotone = pid in loaders or clock0 == clock1
            if rss0 >= MIN_RSS and monotone:
                assert pid in ours, psutil.Process(pid)
            if pid in ours:
                cpu, rss, _ = ours[pid]
                assert cpu0 - 0.1 <= cpu <= cpu1 + 0.1
                if monotone:
                    assert 0.98 * rss0 <= rss <= 1.02 * rss1, psutil.Process(pid)
                    compared += 1
        for pid in ours.keys() - before.keys() - after.keys() - ended:  # nothing but what lived in between alone
            assert ours[pid][2] >= begin - 1
        time.sleep(random.random() * 0.05)
    assert compared > 10 * SCRAPES
    assert churned > SCRAPES / 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_does_not_grow(load):
    """20 000 scrapes while processes come and go: what is remembered is bounded by what runs."""
    collector = ProcessCollector(Node(Settings(("process",)), Procfs(), None, GpuSampler()))
    own = psutil.Process()

    def scrape(times):
        for _ in range(times):
            for _ in collector.collect():
                pass

    scrape(2000)
    before = own.memory_info().rss
    scrape(18_000)
    assert own.memory_info().rss - before < 2 << 20
    scan = collector._scan
    running = len(psutil.pids())
    assert max(len(scan._looked), len(scan._significant), len(scan._population._pids)) <= 1.5 * running
    assert len(collector._following._followed) <= 4 * 50
