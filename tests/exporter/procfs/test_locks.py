"""Locks and keys as the kernel prints them."""

import pytest

from exporter.procfs.keys import Key, parse_keys
from exporter.procfs.locks import parse_held, parse_waiting
from exporter.procfs.read import ParseError

FDINFO = b"""pos:\t0
flags:\t0100002
mnt_id:\t29
ino:\t42
lock:\t1: FLOCK  ADVISORY  WRITE 4321 08:01:42 0 EOF
lock:\t2: OFDLCK ADVISORY  READ -1 08:01:42 0 9
"""

LOCKS = b"""1: POSIX  ADVISORY  WRITE 100 08:01:42 0 EOF
1: -> POSIX  ADVISORY  WRITE 101 08:01:42 0 EOF
2: FLOCK  ADVISORY  WRITE 102 00:2f:7 0 EOF
2: -> FLOCK  ADVISORY  WRITE 103 00:2f:7 0 EOF
3: OFDLCK ADVISORY  WRITE -1 08:01:9 0 EOF
3: -> OFDLCK ADVISORY  WRITE -1 08:01:9 0 EOF
4: LEASE  ACTIVE    WRITE 104 08:01:10 0 EOF
5: DELEG  ACTIVE    READ 105 08:01:11 0 EOF
"""


def test_every_lock_of_a_descriptor_counts_whatever_pid_it_bears():
    assert parse_held(FDINFO) == {"FLOCK", "OFDLCK"}


@pytest.mark.parametrize("line", [b"", b"pos:\t0\n", b"lock:\t1: LEASE  ACTIVE    READ 1 08:01:10 0 EOF\n"])
def test_no_lock_or_a_lease_which_stops_nobody_is_none(line):
    assert parse_held(line) == set()


def test_those_who_wait_are_told_from_those_who_hold():
    assert parse_waiting(LOCKS) == {(101, 42), (103, 7), (-1, 9)}


def test_keys_with_their_owner_and_name():
    raw = (
        b"009a2028 I--Q---     1 perm 3f010000  1000  1000 user      krb_ccache:primary: 12\n"
        b"1806c4ba I--Q---     1 perm 3f010000  1001  1001 rxrpc     afs@example.org: ka\n"
    )
    assert parse_keys(raw) == (Key(1000, "user", "krb_ccache:primary"), Key(1001, "rxrpc", "afs@example.org"))


@pytest.mark.parametrize("raw", [b"x\n", b"1 I 1 perm 0 me 0 user name: 1\n"])
def test_a_table_that_is_none_says_so(raw):
    with pytest.raises(ParseError):
        parse_keys(raw)
