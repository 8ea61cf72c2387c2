"""What ties processes together, from descriptors, shared mappings and socket tables. Pure.

An edge is a name; processes that bear the same name share that pipe, connection or memory. A name that begins with
`outside:` says that the other end exists but at no visible process, so it can never be within a job.

Not told apart by the kernel's files, hence not seen: shared eventfds, and POSIX shared memory whose other users'
processes are unreadable to an ordinary user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.procfs.maps import SharedMapping
from exporter.procfs.net import Endpoint, InetSocket, SocketState
from offloader.engine.closure import OUTSIDE

__all__ = ["Holdings", "Links", "Pipe", "Tables", "links"]

_SOCKET = re.compile(r"socket:\[(\d+)\]")
_CONNECTED = frozenset({SocketState.ESTABLISHED, SocketState.SYN_SENT, SocketState.SYN_RECV, SocketState.CLOSE_WAIT})
_MAPPED_IPV4 = "::ffff:"


@dataclass(frozen=True, slots=True)
class Pipe:
    """One end, or both, of a pipe or FIFO that a process holds open."""

    name: str
    reads: bool
    writes: bool


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one process holds. `sockets` are inodes, `network` names its network namespace (None: unreadable).

    `locked`: paths of files on which it holds a lock, or waits for one.
    """

    pipes: tuple[Pipe, ...] = ()
    sockets: frozenset[int] = frozenset()
    memory: frozenset[SharedMapping] = frozenset()
    network: int | None = None
    locked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tables:
    """Socket tables of the machine.

    `unix`: inode → peer's inode, None when not connected; as a whole None where the kernel does not tell.
    `tcp`: per network namespace. `complete`: whether every process's holdings could be read.
    """

    unix: Mapping[int, int | None] | None
    tcp: Mapping[int, tuple[InetSocket, ...]]
    complete: bool


@dataclass(frozen=True, slots=True)
class Links:
    """One process's edges, whether it accepts TCP connections or has some to other machines, and files it locks."""

    edges: frozenset[str] = frozenset()
    listening: bool = False
    remote_tcp: bool = False
    locked: frozenset[str] = frozenset()


def socket_inode(target: str) -> int | None:
    """The inode in a descriptor's `socket:[inode]`."""
    match = _SOCKET.fullmatch(target)
    return int(match[1]) if match else None


def links(holdings: Mapping[int, Holdings], tables: Tables) -> dict[int, Links]:
    """Every process's links, by pid."""
    held = frozenset(inode for holding in holdings.values() for inode in holding.sockets)
    unix = _unix_edges(tables.unix, held)
    tcp = {network: _tcp_links(sockets, held) for network, sockets in tables.tcp.items()}
    lonely = frozenset() if tables.complete else _lonely_pipes(holdings.values())
    return {pid: _links(holding, unix, tcp, lonely) for pid, holding in holdings.items()}


def _links(
    holding: Holdings,
    unix: Mapping[int, frozenset[str]] | None,
    tcp: Mapping[int, Mapping[int, Links]],
    lonely: frozenset[str],
) -> Links:
    edges = {f"{OUTSIDE}{pipe.name}" if pipe.name in lonely else pipe.name for pipe in holding.pipes}
    edges |= {f"{'shm' if shared.memory else 'map'}:{shared.device}:{shared.inode}" for shared in holding.memory}
    table = tcp.get(holding.network, {}) if holding.network is not None else {}
    listening = remote = False
    for inode in holding.sockets:
        found = table.get(inode)
        if found is not None:
            edges |= found.edges
            listening, remote = listening or found.listening, remote or found.remote_tcp
        elif unix is None:  # which of them are connected, and to whom, cannot be known
            edges.add(f"{OUTSIDE}socket:[{inode}]")
        else:
            edges |= unix.get(inode, frozenset({f"socket:[{inode}]"}))
    return Links(frozenset(edges), listening, remote, holding.locked)


def _unix_edges(peers: Mapping[int, int | None] | None, held: frozenset[int]) -> dict[int, frozenset[str]] | None:
    """Inode → the connections that end at it. A server's datagram socket has many and knows none of them itself."""
    if peers is None:
        return None
    edges: dict[int, set[str]] = {inode: {f"socket:[{inode}]"} for inode in peers}
    for inode, peer in peers.items():
        if peer is None:
            continue
        name = f"unix:[{min(inode, peer)}-{max(inode, peer)}]"
        seen = inode in held and peer in held
        for end in (inode, peer):
            edges.setdefault(end, set()).add(name if seen else f"{OUTSIDE}{name}")
    return {inode: frozenset(names) for inode, names in edges.items()}


def _tcp_links(sockets: Iterable[InetSocket], held: frozenset[int]) -> dict[int, Links]:
    """Inode → what this socket means. A connection is local when its other end is in the same table."""
    table = list(sockets)
    ends = {(_plain(one.local), _plain(one.remote)): one for one in table if one.state is not SocketState.LISTEN}
    return {one.inode: _tcp_link(one, ends, held) for one in table if one.inode}


def _tcp_link(one: InetSocket, ends: Mapping[tuple[Endpoint, Endpoint], InetSocket], held: frozenset[int]) -> Links:
    own = frozenset({f"socket:[{one.inode}]"})
    if one.state is SocketState.LISTEN:
        return Links(own, listening=True)
    local, remote = _plain(one.local), _plain(one.remote)
    other = ends.get((remote, local))
    if other is None:
        return Links(own, remote_tcp=one.state in _CONNECTED)
    if not other.inode:  # the peer closed it: nobody is there any more
        return Links(own)
    first, second = sorted((f"{local.address}:{local.port}", f"{remote.address}:{remote.port}"))
    name = f"tcp:{first}-{second}"
    return Links(own | {name if other.inode in held else f"{OUTSIDE}{name}"})


def _plain(endpoint: Endpoint) -> Endpoint:
    """IPv4 addresses look the same whichever kind of socket is bound to them."""
    return Endpoint(endpoint.address.removeprefix(_MAPPED_IPV4), endpoint.port)


def _lonely_pipes(holdings: Iterable[Holdings]) -> frozenset[str]:
    """Pipes of which only one end is held by anybody visible."""
    reads: set[str] = set()
    writes: set[str] = set()
    for holding in holdings:
        reads |= {pipe.name for pipe in holding.pipes if pipe.reads}
        writes |= {pipe.name for pipe in holding.pipes if pipe.writes}
    return frozenset(reads ^ writes)
