"""What the sockets of a job are: protocol, state, addresses, and whether the other end is its own too.

Sources: proc(5) for /proc/PID/net, sock_diag(7) for the peers of unix sockets, which no file of /proc tells.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Mapping

from .. import proc
from ..wire import Document

__all__ = ["bound_ports", "protocol", "sockets", "unix_peers"]

_INTERNET = ("tcp", "tcp6", "udp", "udp6")
_LISTENING, _ESTABLISHED = 0x0A, 0x01
_SOCK_DIAG, _DIAG_BY_FAMILY, _DONE, _ERROR = 4, 20, 3, 2
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_SHOW_PEER, _ATTRIBUTE_PEER = 4, 2
_STREAM_LIKE = frozenset({socket.SOCK_STREAM, socket.SOCK_SEQPACKET})


def sockets(pid: int, protocols: Mapping[int, str]) -> list[Document]:
    """One document for each of these sockets (inode → protocol, see `protocol`): `kind`, and what that kind has.

    tcp: `state` (listening, established, closed, other), `address`, `port`, `remote`. udp: the same. unix: `stream`,
    and `inside`: whether its peer is one of these sockets, None without a peer. Others: their protocol as kind.
    """
    found = {one["inode"]: one for name in _INTERNET for one in _internet(pid, name)}
    found.update({inode: {"kind": "unix", "inode": inode, "stream": stream} for inode, stream in _unix(pid)})
    peers = unix_peers() if any(found.get(inode, {}).get("kind") == "unix" for inode in protocols) else {}
    return [_one(inode, name, found.get(inode), peers, protocols) for inode, name in sorted(protocols.items())]


def _one(
    inode: int, name: str, known: Document | None, peers: Mapping[int, int], protocols: Mapping[int, str]
) -> Document:
    if known is None:  # neither bound nor connected: in no table
        return {"kind": name[:3] if name in _INTERNET else name, "inode": inode, "state": "closed"}
    if known["kind"] != "unix":
        return known
    return {**known, "inside": peers[inode] in protocols if inode in peers else None}


def protocol(link: str) -> str:
    """Of the socket behind /proc/PID/fd/N, in lower case: tcp, tcp6, udp, unix, netlink, … (net/socket.c, sockfs)."""
    try:
        name = os.getxattr(link, "system.sockprotoname").strip(b"\0").decode("ascii", "replace").lower()
    except OSError:
        return "unknown"
    return "unix" if name.startswith("unix") else name.replace("v6", "6")


def bound_ports() -> set[tuple[str, int]]:
    """Protocol and port of everything that listens, or is bound without a peer, on this node."""
    every = [one for name in _INTERNET for one in _internet("self", name)]
    return {(one["kind"], one["port"]) for one in every if one["state"] == "listening" or one["kind"] == "udp"}


def _table(pid: int | str, name: str) -> Iterator[list[str]]:
    with contextlib.suppress(FileNotFoundError):
        for line in proc.read_bytes(f"/proc/{pid}/net/{name}").decode("utf-8", "replace").splitlines()[1:]:
            yield line.split()


def _internet(pid: int | str, name: str) -> Iterator[Document]:
    for fields in _table(pid, name):
        address, port = _endpoint(fields[1])
        state = {_LISTENING: "listening", _ESTABLISHED: "established"}.get(int(fields[3], 16), "other")
        kind = name[:3]
        remote, remote_port = _endpoint(fields[2])
        yield {
            "kind": kind,
            "inode": int(fields[9]),
            "state": state,
            "address": address,
            "port": port,
            "remote": f"{remote}:{remote_port}",
        }


def _endpoint(text: str) -> tuple[str, int]:
    """The kernel prints addresses as 32-bit words of this machine's own byte order."""
    digits, port = text.split(":")
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    data = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data), int(port, 16)  # noqa: PLR2004


def _unix(pid: int) -> Iterator[tuple[int, bool]]:
    for fields in _table(pid, "unix"):
        yield int(fields[6]), int(fields[4], 16) in _STREAM_LIKE


def unix_peers() -> dict[int, int]:
    """Inode of every connected unix socket of this network namespace → its peer's. Raises OSError."""
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_PEER, 0, 0)
    header = struct.pack("=IHHII", 16 + len(request), _DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    peers: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        netlink.settimeout(5.0)
        netlink.send(header + request)
        while True:
            data = netlink.recv(1 << 16)
            while len(data) >= 16:  # noqa: PLR2004 (struct nlmsghdr)
                length, kind = struct.unpack_from("=IH", data)
                if kind == _DONE:
                    return peers
                if kind == _ERROR:
                    raise OSError("the kernel does not tell the peers of unix sockets")
                peers.update(_peer(data[16:length]))
                data = data[(length + 3) & ~3 :]


def _peer(message: bytes) -> Iterator[tuple[int, int]]:
    """Struct unix_diag_msg and its attributes (linux/unix_diag.h)."""
    inode = struct.unpack_from("=I", message, 4)[0]
    rest = message[16:]
    while len(rest) >= 4:  # noqa: PLR2004 (struct nlattr)
        length, kind = struct.unpack_from("=HH", rest)
        if kind == _ATTRIBUTE_PEER and length >= 8:  # noqa: PLR2004
            yield inode, struct.unpack_from("=I", rest, 4)[0]
        rest = rest[max(4, (length + 3) & ~3) :]
