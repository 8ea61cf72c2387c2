import pytest

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


def test_cgroup_paths_with_what_unicode_calls_line_ends():
    """So are directory names."""
    path = "/a\u2028b\x85c\x0bd\re"
    assert pid.parse_cgroup(f"0::{path}\n".encode())[0].path == path


def test_a_command_name_with_a_carriage_return_makes_up_no_line():
    """The kernel escapes line feeds in it, and nothing else."""
    status = pid.parse_pid_status(b"Name:\tx\rVmSwap:\t9 kB\nUid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\n")
    assert status.swap == 0


@pytest.mark.parametrize("field", [13, 14, 19, 21, 22, 23])
@pytest.mark.parametrize("value", [b"-1", b"%d" % 2**64, b"9" * 400])
def test_impossible_times_and_sizes(field, value):
    """They would go into a counter, or not even fit a number of Prometheus'. Fields as numbered in man 5 proc."""
    words = (STAT % b"x").split(b" ")
    words[field] = value
    with pytest.raises(ParseError):
        pid.parse_pid_stat(b" ".join(words))
