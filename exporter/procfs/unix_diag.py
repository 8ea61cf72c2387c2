"""Which unix sockets are connected to which: netlink alone tells (man 7 sock_diag), /proc/net/unix does not."""

import socket
import struct
from collections.abc import Iterator

from exporter.procfs.read import ParseError

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_UDIAG_SHOW_PEER = 0x4
_UNIX_DIAG_PEER = 2
_ALL_STATES = 0xFFFFFFFF

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBHIIIII")  # unix_diag_req: family, protocol, pad, states, inode, show, cookie[2]
_MESSAGE = struct.Struct("=BBBBIII")  # unix_diag_msg: family, type, state, pad, inode, cookie[2]
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type

_BUFFER = 1 << 16


def unix_peers(timeout_s: float = 1.0) -> dict[int, int | None]:
    """Every unix socket of the caller's network namespace: its inode → its peer's inode (None: not connected).

    Raises OSError where the kernel has no unix_diag or does not answer in time.
    """
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _ALL_STATES, 0, _UDIAG_SHOW_PEER, 0, 0)
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
    peers: dict[int, int | None] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as channel:
        channel.settimeout(timeout_s)
        channel.sendto(header + request, (0, 0))
        while True:
            found, done = parse_answer(channel.recv(_BUFFER))
            peers.update(found)
            if done:
                return peers


def parse_answer(data: bytes) -> tuple[dict[int, int | None], bool]:
    """The sockets in one datagram, and whether it is the last. Raises ParseError, OSError for the kernel's errors."""
    peers: dict[int, int | None] = {}
    try:
        for kind, body in _messages(data):
            if kind == _NLMSG_DONE:
                return peers, True
            if kind == _NLMSG_ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, "the kernel does not list unix sockets")
            inode = _MESSAGE.unpack_from(body)[4]
            peers[inode] = _peer(body[_MESSAGE.size :])
    except struct.error as error:
        raise ParseError(f"unix_diag: {error}") from error
    return peers, False


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            raise ParseError(f"unix_diag: a message of {length} bytes")
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += _aligned(length)


def _peer(attributes: bytes) -> int | None:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, offset)
        if length < _ATTRIBUTE.size:
            raise ParseError(f"unix_diag: an attribute of {length} bytes")
        if kind == _UNIX_DIAG_PEER:
            inode: int = struct.unpack_from("=I", attributes, offset + _ATTRIBUTE.size)[0]
            return inode
        offset += _aligned(length)
    return None


def _aligned(length: int) -> int:
    return (length + 3) & ~3
