import pytest

from exporter.procfs.read import ParseError
from exporter.procfs.system import (
    DiskIo,
    parse_diskstats,
    parse_loadavg,
    parse_meminfo,
    parse_pressure,
    parse_stat,
)


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


def test_lines_of_no_interest_may_hold_anything():
    """Newer kernels and vendors add lines to /proc/meminfo."""
    memory = parse_meminfo("MemTotal: 100 kB\nMemAvailable: 30 kB\nVendor: none at all\nEmpty:\n")
    assert memory.available == 30 << 10


def test_disks_with_as_many_columns_as_their_kernel_has():
    """Old kernels write fourteen, newer ones twenty; sectors are of 512 bytes on any device."""
    old, new = "8 0 sda 1 0 2 0 3 0 4 0 9 5 0", " 259  0 nvme0n1 1 0 2 0 3 0 4 0 0 7 0 1 1 1 1 2 2"
    assert parse_diskstats(f"{old}\n{new}\n") == {
        "8:0": DiskIo(1, 1024, 3, 2048, 5),
        "259:0": DiskIo(1, 1024, 3, 2048, 7),
    }
    assert parse_diskstats("") == {}  # a machine without block devices


@pytest.mark.parametrize("text", ["nan 1 1 1/2 3\n", "inf 0 0 1/2 3\n", "-1 0 0 1/2 3\n", "0 0\n"])
def test_impossible_load(text):
    with pytest.raises(ParseError):
        parse_loadavg(text)


def test_half_a_cpu_line_is_no_busy_cpu():
    """Without the idle column every node would look fully busy."""
    with pytest.raises(ParseError):
        parse_stat("cpu 10 1 5\ncpu0 1 1 1 1\n")
