from exporter.procfs.net import Endpoint, SocketState, parse_inet
from exporter.procfs.process import Procfs


def test_addresses_ports_states(proc):
    """A listener on loopback, an established connection, an IPv6 listener; no udp tables in the fixture."""
    listener, connection, listener6 = Procfs(proc).inet_sockets()
    assert (listener.local, listener.state, listener.inode) == (Endpoint("127.0.0.1", 8080), SocketState.LISTEN, 55501)
    assert connection.remote == Endpoint("192.168.1.5", 443)
    assert (connection.state, connection.uid) == (SocketState.ESTABLISHED, 4242)
    assert listener6.local == Endpoint("::1", 22)


def test_states_of_newer_kernels():
    """A number that this version does not know is unknown, not an error."""
    line = "0: 0100007F:0001 0100007F:0002 63 0:0 0:0 0 7 0 9\n"
    (found,) = parse_inet("heading\n" + line)
    assert found.state is SocketState.UNKNOWN
