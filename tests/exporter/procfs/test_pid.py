import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.procfs import pid
from exporter.procfs.read import ParseError

STAT = b"42 (%s) S 1 42 42 34816 42 4194560 1 0 0 0 30 12 0 0 25 5 3 0 777 1000000 25 18446744073709551615 1 1 0 0"


@pytest.mark.parametrize("comm", [b"tmux: server (1)", b") S 1 (", b"a b", b"\xff\xfe", b""])
def test_any_command_name(comm):
    """A program can name itself anything and must not shift the fields."""
    stat = pid.parse_pid_stat(STAT % comm)
    assert stat.comm.encode("utf-8", "surrogateescape") == comm
    assert (stat.pid, stat.state, stat.ppid, stat.ticks, stat.nice, stat.threads) == (42, "S", 1, 42, 5, 3)
    assert (stat.start_time, stat.vsize, stat.rss, stat.tty_nr) == (777, 1000000, 25, 34816)


def test_environment_as_the_program_sees_it():
    """The first of two entries counts, as for getenv; bytes stay bytes; entries without = are none."""
    assert pid.parse_environ(b"A=1\0B=\xff=x\0A=2\0junk\0EMPTY=\0") == {b"A": b"1", b"B": b"\xff=x", b"EMPTY": b""}


def test_empty_arguments_survive():
    """`grep ""` has two arguments."""
    assert pid.parse_cmdline(b"grep\0\0") == (b"grep", b"")
    assert pid.parse_cmdline(b"") == ()


def test_cgroup_paths_with_colons():
    """Paths are the users' to choose."""
    assert pid.parse_cgroup(b"4:cpu,cpuacct:/a:b\n0::/\n") == (
        pid.CgroupMembership(4, ("cpu", "cpuacct"), "/a:b"),
        pid.CgroupMembership(0, (), "/"),
    )


def test_kernel_thread_status_has_no_memory():
    """No VmSwap line means no swap."""
    status = pid.parse_pid_status(b"Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
    assert (status.swap, status.umask, status.groups) == (0, None, ())


PARSERS = [
    pid.parse_pid_stat,
    pid.parse_pid_statm,
    pid.parse_pid_io,
    pid.parse_pid_status,
    pid.parse_cmdline,
    pid.parse_environ,
    pid.parse_cgroup,
    pid.parse_limits,
    pid.parse_fdinfo,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(raw=st.one_of(st.binary(max_size=300), st.text("() 0123456789:\tUidGpos\n\0-", max_size=300).map(str.encode)))
def test_garbage_raises_only_parse_error(parse, raw):
    """One odd process never loses a scrape in an unforeseen way."""
    with contextlib.suppress(ParseError):
        parse(raw)
