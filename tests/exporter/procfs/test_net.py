import pytest

from exporter.procfs.net import Endpoint, SocketState, Traffic, parse_inet, parse_net_dev
from exporter.procfs.process import Procfs
from exporter.procfs.read import ParseError


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


HEADING = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop\n"
COLUMNS = "1 0 2 3 0 0 0 0 4 0 5 6 0 0 0 0"


def test_traffic_of_interfaces_whatever_their_names():
    """Old kernels put no space behind the colon; a name may hold what Unicode calls a line end."""
    text = f"{HEADING}  eth0:{COLUMNS}\n a\u2028b: {COLUMNS}\n"
    assert parse_net_dev(text) == dict.fromkeys(["eth0", "a\u2028b"], Traffic(1, 2, 3, 4, 5, 6))


@pytest.mark.parametrize(
    "line", ["", "eth0 1 2 3\n", "eth0: 1 2 3\n", f": {COLUMNS}\n", "eth0: -1 0 2 3 0 0 0 0 4 0 5 6\n"]
)
def test_what_is_no_table_of_interfaces(line):
    """Every network namespace has lo at least."""
    with pytest.raises(ParseError):
        parse_net_dev(HEADING + line)
