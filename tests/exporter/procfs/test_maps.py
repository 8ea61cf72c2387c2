"""Shared memory in /proc/PID/maps: which lines count."""

import os

import pytest

from exporter.procfs.maps import SharedMapping, parse_shared

RANGE = b"7f0000000000-7f0000001000"


def line(permissions: bytes, device: bytes, inode: bytes, path: bytes) -> bytes:
    return RANGE + b" " + permissions + b" 00000000 " + device + b" " + inode + b"          " + path + b"\n"


@pytest.mark.parametrize(
    ("permissions", "path", "memory"),
    [
        (b"rw-s", b"/dev/shm/segment", True),
        (b"r--s", b"/dev/shm/segment", True),
        (b"rw-s", b"/memfd:x (deleted)", True),
        (b"rw-s", b"/SYSV00000000 (deleted)", True),
        (b"rw-s", b"/dev/zero (deleted)", True),
        (b"rw-s", b"/home/a file with spaces.db", False),
    ],
)
def test_shared_memory_counts_and_files_that_are_written_through_it(permissions, path, memory):
    found = parse_shared(line(permissions, b"fe:01", b"77", path))
    assert found == {SharedMapping(os.makedev(0xFE, 1), 77, memory)}


@pytest.mark.parametrize(
    ("permissions", "path"),
    [
        (b"r--s", b"/usr/lib/gconv/gconv-modules.cache"),  # every program maps it
        (b"rw-p", b"/home/data"),
        (b"r-xp", b"/usr/lib/libc.so.6"),
        (b"rw-s", b"/dev/nvidia0"),  # a device, not memory: GPU users are not one job
        (b"rw-s", b"anon_inode:[perf_event]"),
        (b"rw-p", b""),
        (b"rw-p", b"[heap]"),
    ],
)
def test_private_maps_read_only_files_and_devices_do_not(permissions, path):
    assert parse_shared(line(permissions, b"fe:01", b"77", path)) == frozenset()


def test_nothing_and_nonsense_are_no_mappings():
    assert parse_shared(b"") == frozenset()
    assert parse_shared(b"garbage\n\xff\xfe rw-s\n") == frozenset()
