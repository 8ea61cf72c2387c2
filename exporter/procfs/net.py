"""Sockets (/proc/net/{tcp,tcp6,udp,udp6}) and the traffic of interfaces (/proc/net/dev). Pure.

Sources: man 5 proc; the kernel's networking/proc_net_tcp.rst.
"""

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from exporter.procfs.read import ParseError, natural


class SocketState(IntEnum):
    """States as numbered in include/net/tcp_states.h; UDP uses ESTABLISHED and CLOSE. UNKNOWN is ours."""

    UNKNOWN = 0
    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    NEW_SYN_RECV = 12


_STATES = frozenset(map(int, SocketState))
_HIGHEST_PORT = 0xFFFF
_HEADING_LINES = 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address in presentation form and a port; port 0 is "any"."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class InetSocket:
    """One socket; `inode` is the number in a descriptor's `socket:[inode]`, 0 when it has no owner any more."""

    inode: int
    local: Endpoint
    remote: Endpoint
    state: SocketState
    uid: int


class Traffic(NamedTuple):
    """What went through a network interface since it appeared."""

    received_bytes: int
    receive_errors: int
    receive_dropped: int
    transmitted_bytes: int
    transmit_errors: int
    transmit_dropped: int


def parse_net_dev(text: str) -> dict[str, Traffic]:
    """/proc/net/dev: by interface, after two lines of heading.

    A name may hold any character but white space, `/` and `:`; those that str.splitlines takes for line ends too.
    """
    lines = [line for line in text.split("\n")[_HEADING_LINES:] if line]
    if not lines:
        raise ParseError("/proc/net/dev: no interface, not even lo")
    try:
        return dict(map(_traffic, lines))
    except (ValueError, IndexError) as error:
        raise ParseError(f"/proc/net/dev: {error}") from error


def parse_inet(text: str) -> tuple[InetSocket, ...]:
    """A table of sockets; the first line is its heading."""
    try:
        return tuple(_socket(line.split()) for line in text.splitlines()[1:] if line.strip())
    except (ValueError, IndexError, struct.error) as error:
        raise ParseError(f"/proc/net socket table: {error!r}") from error


def _socket(fields: list[str]) -> InetSocket:
    number = int(fields[3], 16)
    state = SocketState(number) if number in _STATES else SocketState.UNKNOWN
    return InetSocket(natural(fields[9]), _endpoint(fields[1]), _endpoint(fields[2]), state, natural(fields[7]))


def _endpoint(field: str) -> Endpoint:
    address, _, port = field.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)  # words of network-order bytes, printed in the host's order
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    number = int(port, 16)
    if not 0 <= number <= _HIGHEST_PORT:
        raise ValueError(f"port {port[:40]}")
    return Endpoint(socket.inet_ntop(family, packed), number)


def _traffic(line: str) -> tuple[str, Traffic]:
    name, colon, rest = line.rpartition(":")
    columns = rest.split()
    if not colon or not name.strip():
        raise ValueError(f"no interface: {line[:40]!r}")
    return name.strip(" "), Traffic(*(natural(columns[at]) for at in (0, 2, 3, 8, 10, 11)))
