"""Edges by name, where the cases are hard to set up with real processes."""

from exporter.procfs.maps import SharedMapping
from exporter.procfs.net import Endpoint, InetSocket, SocketState
from offloader.adapters.edges import Holdings, Links, Pipe, Tables, links

NETWORK = 4026531840
HERE, THERE = Endpoint("127.0.0.1", 40000), Endpoint("127.0.0.1", 5432)


def sockets(*inodes: int) -> Holdings:
    return Holdings(sockets=frozenset(inodes), network=NETWORK)


def tables(*tcp: InetSocket, unix: dict[int, int | None] | None = None, complete: bool = True) -> Tables:
    return Tables({} if unix is None else unix, {NETWORK: tcp}, complete)


def connection(
    inode: int, local: Endpoint, remote: Endpoint, state: SocketState = SocketState.ESTABLISHED
) -> InetSocket:
    return InetSocket(inode, local, remote, state, 0)


def test_a_local_peer_that_only_another_user_holds_is_outside():
    """The database server of another user: an ordinary user does not see its descriptors."""
    found = links({1: sockets(7)}, tables(connection(7, HERE, THERE), connection(8, THERE, HERE)))
    assert "outside:tcp:127.0.0.1:40000-127.0.0.1:5432" in found[1].edges
    assert not found[1].remote_tcp


def test_a_local_peer_that_closed_its_end_is_nobody():
    gone = connection(0, THERE, HERE, SocketState.FIN_WAIT2)
    found = links({1: sockets(7)}, tables(connection(7, HERE, THERE, SocketState.CLOSE_WAIT), gone))
    assert found[1] == Links(frozenset({"socket:[7]"}))


def test_connections_that_ended_are_not_remote():
    ended = connection(7, HERE, Endpoint("192.0.2.9", 443), SocketState.CLOSE)
    assert not links({1: sockets(7)}, tables(ended))[1].remote_tcp


def test_a_listener_is_told_from_its_connections():
    listener = connection(9, THERE, Endpoint("0.0.0.0", 0), SocketState.LISTEN)
    found = links({1: sockets(9), 2: sockets(7)}, tables(listener, connection(7, HERE, THERE)))
    assert (found[1].listening, found[2].listening) == (True, False)


def test_the_same_addresses_in_two_network_namespaces_are_two_connections():
    """Containers and test beds: everybody's loopback looks alike."""
    table = (connection(7, HERE, THERE),)
    other = (connection(8, THERE, HERE),)
    holdings = {1: sockets(7), 2: Holdings(sockets=frozenset({8}), network=1)}
    found = links(holdings, Tables({}, {NETWORK: table, 1: other}, complete=True))
    assert not [edge for edge in found[1].edges & found[2].edges if edge.startswith("tcp:")]


def test_a_socket_that_two_processes_inherited_ties_them_together():
    found = links({1: sockets(7), 2: sockets(7)}, tables())
    assert found[1].edges == found[2].edges == {"socket:[7]"}


def test_a_datagram_server_is_tied_to_all_its_clients_although_it_knows_none():
    """As syslog: only the clients' sockets are connected."""
    found = links({1: sockets(7), 2: sockets(8), 3: sockets(9)}, tables(unix={7: 9, 8: 9, 9: None}))
    assert found[3].edges >= found[1].edges - {"socket:[7]"}
    assert found[3].edges >= found[2].edges - {"socket:[8]"}


def test_without_the_kernels_help_every_unix_socket_may_lead_outside():
    found = links({1: sockets(7)}, Tables(None, {NETWORK: ()}, complete=True))
    assert found[1].edges == {"outside:socket:[7]"}


def test_a_pipe_with_one_visible_end_is_outside_only_where_somebody_is_invisible():
    """Where all can be seen its other end is simply closed."""
    holdings = {1: Holdings(pipes=(Pipe("pipe:[5]", reads=False, writes=True),))}
    assert links(holdings, tables(complete=True))[1].edges == {"pipe:[5]"}
    assert links(holdings, tables(complete=False))[1].edges == {"outside:pipe:[5]"}


def test_a_pipe_to_oneself_is_inside_in_either_case():
    """Event loops wake themselves by one."""
    both = Holdings(pipes=(Pipe("pipe:[5]", reads=True, writes=False), Pipe("pipe:[5]", reads=False, writes=True)))
    assert links({1: both}, tables(complete=False))[1].edges == {"pipe:[5]"}


def test_memory_and_mapped_files_have_names_of_their_own():
    memory = frozenset({SharedMapping(26, 9, memory=True), SharedMapping(26, 9, memory=False)})
    assert links({1: Holdings(memory=memory)}, tables())[1].edges == {"shm:26:9", "map:26:9"}
