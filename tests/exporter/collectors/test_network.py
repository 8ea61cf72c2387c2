import pytest

from exporter.collectors.network import NetworkCollector

RECEIVED = "network_receive_bytes_total"
HEADING = "heading\nheading\n"


def _dev(**received):
    return HEADING + "".join(f"{name}: {count} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n" for name, count in received.items())


@pytest.fixture
def received(proc, make_node, look):
    """The bytes that count between two tables."""

    def count(before, after, table="net/dev"):
        collector = NetworkCollector(make_node())
        (proc / table).parent.mkdir(exist_ok=True)
        (proc / table).write_text(_dev(**before))
        look(collector)
        (proc / table).write_text(_dev(**after))
        return look(collector)[RECEIVED]

    return count


def _interface(sysfs, name, *, device=False, master=None):
    folder = sysfs / "class" / "net" / name
    folder.mkdir(parents=True)
    if device:
        (folder / "device").mkdir()
    if master:
        (folder / "master").symlink_to(f"../{master}")


def test_a_bond_and_its_vlan_are_not_counted_again(sysfs, received):
    """Their packets are those of the cards below."""
    for name in ("bond0", "vlan7"):
        _interface(sysfs, name)
    before = {"lo": 0, "eth0": 0, "eth1": 0, "bond0": 0, "vlan7": 0}
    after = {"lo": 9, "eth0": 10, "eth1": 20, "bond0": 30, "vlan7": 30}
    assert received(before, after) == 30


def test_a_card_below_another_card_is_counted_by_that_one(sysfs, received):
    """Accelerated networking: the virtual machine's own interface counts what went through the passed-through card."""
    _interface(sysfs, "hv0", device=True)
    _interface(sysfs, "enP1", device=True, master="hv0")
    assert received({"hv0": 0, "enP1": 0}, {"hv0": 50, "enP1": 45}) == 50


def test_a_bonded_card_counts(sysfs, received):
    """Its master is no card."""
    _interface(sysfs, "bond0")
    _interface(sysfs, "eth7", device=True, master="bond0")
    assert received({"eth7": 0, "bond0": 0}, {"eth7": 4, "bond0": 4}) == 4


def test_a_network_namespace_without_cards_counts_all_but_loopback(received):
    """A container's end of a veth pair."""
    assert received({"lo": 0, "net1": 0, "net2": 0}, {"lo": 9, "net1": 1, "net2": 2}) == 3


def test_the_hosts_network_is_that_of_process_1(proc, received):
    """The exporter may run in a network namespace of its own."""
    (proc / "net" / "dev").write_text(_dev(eth0=5))
    assert received({"eth0": 0}, {"eth0": 70}, "1/net/dev") == 70


def test_a_cgroup_has_no_network_and_a_container_has(proc, make_node, look):
    """Said by metric."""
    (proc / "net" / "dev").write_text(_dev(lo=0))
    assert look(NetworkCollector(make_node(object(), "/batch.slice"))) == {"missing:network": 1}
    assert look(NetworkCollector(make_node(object())))["missing:network"] == 0


def test_no_table_is_missing_and_not_zero(proc, make_node, look):
    (proc / "net" / "dev").unlink()
    assert look(NetworkCollector(make_node())) == {"missing:network": 1}
