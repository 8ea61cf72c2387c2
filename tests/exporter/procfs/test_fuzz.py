"""Every parser of kernel files over arbitrary bytes and over real files that were cut and bent.

It answers or raises ParseError, whatever comes: an error that nobody foresaw would cost more than the file it is about.
"""

import dataclasses
import math
import re
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.procfs import cgroup, cgroup_io, keys, locks, maps, net, pid, system, unix_diag
from exporter.procfs.read import ParseError

FIXTURES = Path(__file__).parent.parent / "fixtures"
PROC = FIXTURES / "host" / "proc"
SLICE = FIXTURES / "cgroup_v2" / "batch.slice" / "node1.scope"
V1 = FIXTURES / "cgroup_v1"


def _text(parse):
    """The parser as one of bytes: files are read that way."""
    return lambda raw: parse(raw.decode("utf-8", "surrogateescape"))


def _unix_socket(inode, peer):
    body = struct.pack("=BBBBIII", 1, 1, 1, 0, inode, 0, 0) + struct.pack("=HHI", 8, 2, peer)
    return struct.pack("=IHHII", 16 + len(body), 20, 0, 1, 0) + body


def _file(*names):
    return [path.read_bytes() for name in names for path in sorted(name.parent.glob(name.name))]


PARSERS = {
    "stat": (_text(system.parse_stat), _file(PROC / "stat")),
    "meminfo": (_text(system.parse_meminfo), _file(PROC / "meminfo")),
    "loadavg": (_text(system.parse_loadavg), _file(PROC / "loadavg")),
    "pressure": (_text(system.parse_pressure), _file(PROC / "pressure" / "*")),
    "diskstats": (_text(system.parse_diskstats), _file(PROC / "diskstats")),
    "net_dev": (_text(net.parse_net_dev), _file(PROC / "net" / "dev")),
    "inet": (_text(net.parse_inet), _file(PROC / "net" / "tcp", PROC / "net" / "tcp6")),
    "pid_stat": (pid.parse_pid_stat, [path.read_bytes() for path in sorted(PROC.glob("[0-9]*/stat"))]),
    "pid_statm": (pid.parse_pid_statm, _file(PROC / "4242" / "statm")),
    "pid_io": (pid.parse_pid_io, _file(PROC / "4242" / "io")),
    "pid_status": (pid.parse_pid_status, [path.read_bytes() for path in sorted(PROC.glob("[0-9]*/status"))]),
    "cmdline": (pid.parse_cmdline, _file(PROC / "4242" / "cmdline")),
    "environ": (pid.parse_environ, _file(PROC / "4242" / "environ")),
    "pid_cgroup": (pid.parse_cgroup, [path.read_bytes() for path in sorted(PROC.glob("[0-9]*/cgroup"))]),
    "limits": (pid.parse_limits, _file(PROC / "4242" / "limits")),
    "fdinfo": (pid.parse_fdinfo, _file(PROC / "4242" / "fdinfo" / "1")),
    "held_locks": (locks.parse_held, [b"pos:\t0\nflags:\t02\nlock:\t1: FLOCK  ADVISORY  WRITE 7 fe:00:26 0 EOF\n"]),
    "waiting_for_locks": (locks.parse_waiting, _file(FIXTURES / "kernel" / "locks")),
    "keys": (keys.parse_keys, _file(FIXTURES / "kernel" / "keys")),
    "maps": (maps.parse_shared, _file(FIXTURES / "kernel" / "maps")),
    "unix_diag": (unix_diag.parse_answer, [_unix_socket(7, 8) + _unix_socket(9, 0)]),
    "io_stat": (_text(cgroup_io.parse_io_stat), _file(SLICE / "io.stat")),
    "blkio": (_text(lambda text: cgroup_io.parse_blkio(text, text)), _file(V1 / "blkio" / "node1" / "*")),
    "flat": (_text(lambda text: cgroup._flat(text, "memory.stat")), _file(SLICE / "cpu.stat", SLICE / "memory.stat")),
    "number": (_text(cgroup._number), _file(SLICE / "memory.current", SLICE / "memory.max")),
    "quota_v2": (_text(cgroup._quota_v2), _file(SLICE / "cpu.max")),
    "quota_v1": (_text(lambda text: cgroup._quota_v1(text, text)), _file(V1 / "cpu" / "node1" / "cpu.cfs_quota_us")),
    "cpu_list": (_text(cgroup._cpu_count), _file(SLICE / "cpuset.cpus.effective")),
}

ODD = [
    b"-1", b"-9", b"0", b"9" * 20, b"9" * 400, b"9" * 5000, b"f" * 5000, b"7" * 5000, b"1e400", b"nan", b"inf",
    b"1_0", b"0x1f", b"+5", b"max", b"kB", b" ", b"\n", b"\r", b"\t", b"\0", b":", b"=", b"(", b")", b"/",
    b"\xff", b"\x85", "\u2028".encode(), "\u0665".encode(),
]  # fmt: skip


@st.composite
def _bent(draw, files):
    """One of the files with pieces cut out, doubled, or put in."""
    raw = draw(st.sampled_from(files))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 40)))
        raw = draw(
            st.sampled_from(
                [
                    raw[:start],
                    raw[start:],
                    raw[:start] + raw[end:],
                    raw[:start] + 2 * raw[start:end] + raw[end:],
                    raw[:start] + draw(st.sampled_from(ODD)) + raw[end:],
                ]
            )
        )
    return raw


def _assert_usable(value):
    """Numbers that Prometheus can take, however deep inside."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple, frozenset)):
        for member in value:
            _assert_usable(member)
    elif isinstance(value, (int, float)):
        assert math.isfinite(float(value))


def _parse(parse, raw):
    try:
        answer = parse(raw)
    except ParseError:
        return
    except OSError as error:
        assert parse is unix_diag.parse_answer, error  # the kernel's refusal, as the message says  # noqa: PT017
        return
    _assert_usable(answer)


@pytest.mark.parametrize("name", PARSERS)
def test_real_files_are_understood(name):
    """Else the rest here proves nothing."""
    parse, files = PARSERS[name]
    assert files
    for raw in files:
        _assert_usable(parse(raw))


@pytest.mark.parametrize("name", PARSERS)
def test_odd_words_raise_only_parse_error(name):
    """Each word of each file in turn is replaced by each odd one: the shape stays, a value is impossible."""
    parse, files = PARSERS[name]
    for raw in files:
        for word in re.finditer(rb"[^\s:=]+", raw):
            for odd in ODD:
                _parse(parse, raw[: word.start()] + odd + raw[word.end() :])


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_bent_files_raise_only_parse_error(name, data):
    parse, files = PARSERS[name]
    _parse(parse, data.draw(_bent(files)))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=300) | st.text("() 0123456789:=-,./abcdefrwsx\t\n\0", max_size=300).map(str.encode))
def test_garbage_raises_only_parse_error(name, raw):
    _parse(PARSERS[name][0], raw)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.timeout(30)  # a megabyte takes a second at most; a parser whose time grows with the square, minutes
def test_large_input_takes_no_square_of_its_time(name):
    parse, files = PARSERS[name]
    for piece in (
        b"9",
        b" ",
        b"\n",
        b":",
        b"(",
        b")",
        b"\0",
        b"a b ",
        b"1: -> FLOCK a b 1 ",
        files[0],
        files[0].replace(b"\n", b" "),
    ):
        _parse(parse, files[0] + piece * ((1 << 19) // max(1, len(piece))))
