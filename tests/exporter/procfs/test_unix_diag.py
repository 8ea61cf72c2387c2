"""Peers of unix sockets: the kernel's answer taken apart, and asked for real."""

import os
import socket
import struct

import pytest

from exporter.procfs.read import ParseError
from exporter.procfs.unix_diag import parse_answer, unix_peers


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def entry(inode: int, *attributes: tuple[int, bytes]) -> bytes:
    packed = b"".join(
        struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4) for kind, value in attributes
    )
    return message(20, struct.pack("=BBBBIII", 1, 1, 1, 0, inode, 0, 0) + packed)


DONE = message(3, struct.pack("=i", 0))


def test_connected_and_unconnected_sockets_are_told_apart():
    name, peer = (0, b"\0abc"), (2, struct.pack("=I", 8))
    assert parse_answer(entry(7, name, peer) + entry(9)) == ({7: 8, 9: None}, False)
    assert parse_answer(entry(7, (0, b"odd"), peer) + DONE) == ({7: 8}, True)


def test_the_kernels_refusal_is_its_error():
    with pytest.raises(OSError, match="does not list unix sockets") as raised:
        parse_answer(message(2, struct.pack("=i", -2) + bytes(16)))
    assert raised.value.errno == 2


@pytest.mark.parametrize(
    "data",
    [struct.pack("=IHHII", 3, 20, 0, 1, 0), message(20, b"short"), message(2, b""), entry(7)[:-8] + b"\1\0\0\0"],
)
def test_a_malformed_answer_is_an_error_and_no_endless_loop(data):
    with pytest.raises(ParseError):
        parse_answer(data)


def test_both_ends_of_a_pair_name_each_other():
    one, other = socket.socketpair()
    with one, other:
        peers = unix_peers()
        inodes = [os.fstat(end.fileno()).st_ino for end in (one, other)]
    assert [peers[inode] for inode in inodes] == inodes[::-1]
