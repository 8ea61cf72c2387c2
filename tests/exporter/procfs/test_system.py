import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.procfs.read import ParseError
from exporter.procfs.system import parse_loadavg, parse_meminfo, parse_pressure, parse_stat


def test_waiting_for_io_is_not_busy():
    """An idle disk-bound node is not short of CPU."""
    times = parse_stat("cpu  10 1 5 80 4 0 0 0 0 0\ncpu0 10 1 5 80 4 0 0 0 0 0\nbtime 7\nprocesses 9\n")
    assert (times.busy, times.total, times.cpus, times.boot_time, times.forks) == (16, 100, 1, 7, 9)


def test_guest_time_is_not_counted_twice():
    """man 5 proc: guest is already part of user."""
    assert parse_stat("cpu 10 0 0 0 0 0 0 0 10 0\ncpu0 1\n").total == 10


def test_kernel_without_memavailable():
    """RHEL 6 era kernels and some sandboxes."""
    memory = parse_meminfo("MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 5 kB\nCached: 20 kB\n")
    assert (memory.total, memory.available, memory.swap_total) == (102400, 35840, 0)


def test_pressure_of_a_kernel_that_reports_no_full():
    """Linux before 5.13 has no full line for cpu."""
    pressure = parse_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n")
    assert (pressure.some, pressure.full) == (1.5, None)


@pytest.mark.parametrize("parse", [parse_stat, parse_meminfo, parse_loadavg, parse_pressure])
def test_empty_file_is_an_error(parse):
    """Never zeros that would look like an idle node."""
    with pytest.raises(ParseError):
        parse("")


@pytest.mark.parametrize("parse", [parse_stat, parse_meminfo, parse_loadavg, parse_pressure])
@given(text=st.text(alphabet="cpu0123456789 \n:=somefulltotalMemTotal-.", max_size=200))
def test_garbage_raises_only_parse_error(parse, text):
    """A malformed line costs one collector with a clear message."""
    with contextlib.suppress(ParseError):
        parse(text)
