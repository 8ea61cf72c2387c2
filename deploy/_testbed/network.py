"""The cluster's network: one bridge, one cable (veth pair) per node. ip-link(8), veth(4)."""

import json
import re
from pathlib import Path

from _testbed.errors import TestbedError
from _testbed.settings import Node, Settings
from _testbed.shell import run

IFF_UP = 0x1
LINKS = Path("/sys/class/net")


def exists(link: str) -> bool:
    """Whether the machine has a network interface of that name."""
    return (LINKS / link).exists()


def create_bridge(settings: Settings) -> None:
    """Make the bridge with the machine's own address on it; raises TestbedError if the subnet is in use."""
    if exists(settings.bridge):
        return
    beginning = settings.host_ip.rpartition(".")[0] + "."
    for link in json.loads(run(["ip", "-json", "-4", "address"])):
        if any(address["local"].startswith(beginning) for address in link.get("addr_info", [])):
            raise TestbedError(
                f"{settings.subnet} is in use on {link['ifname']}: set GRID_TESTBED_SUBNET to a free one, "
                "or end the other test bed (deploy/testbed down with its GRID_TESTBED_NAME)"
            )
    run(
        ["ip", "-batch", "-"],
        text=f"link add {settings.bridge} type bridge\n"
        f"address add {settings.host_ip}/{settings.prefix_length} dev {settings.bridge}\n"
        f"link set {settings.bridge} up\n",
    )


def plug(settings: Settings, node: Node, pid: int) -> None:
    """Run a cable from the bridge to `eth0` in the network namespace of process `pid`.

    A node's hardware address never changes: after a crash and a restart its neighbours' ARP caches stay true.
    """
    link = settings.link(node)
    address = f"02:67:74:00:00:{node.index:02x}"  # 02: locally administered
    unplug(link)
    run(
        ["ip", "-batch", "-"],
        text=f"link add {link} type veth peer name eth0 address {address} netns {pid}\n"
        f"link set {link} master {settings.bridge} up\n",
    )


def unplug(link: str) -> None:
    """Remove an interface (with its other end); nothing happens when it is not there."""
    if exists(link):
        try:
            run(["ip", "link", "delete", link])
        except TestbedError:
            if exists(link):  # the kernel removes a dead namespace's cables by itself: that race is no failure
                raise


def cut(settings: Settings, node: Node) -> None:
    """Take the node's cable down: packets are lost, processes and addresses stay."""
    run(["ip", "link", "set", settings.link(node), "down"])


def mend(settings: Settings, node: Node) -> None:
    """Take the node's cable up again."""
    run(["ip", "link", "set", settings.link(node), "up"])


def is_cut(settings: Settings, node: Node) -> bool:
    """Whether the node's cable is down."""
    flags = LINKS / settings.link(node) / "flags"
    return flags.exists() and not int(flags.read_text(encoding="ascii"), 16) & IFF_UP


def destroy(settings: Settings) -> None:
    """Remove the bridge and every cable of this test bed, whatever state they are in."""
    for link in sorted(path.name for path in LINKS.iterdir()):
        if re.fullmatch(rf"{re.escape(settings.name)}v\d+", link):
            unplug(link)
    unplug(settings.bridge)
