"""What a test bed is called, where it lives and how large its nodes are."""

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from _testbed.cgroups import Group, hierarchies
from _testbed.errors import TestbedError

PROJECT = Path(__file__).resolve().parent.parent.parent
DEFAULT_NAME = "gt"
DEFAULT_SUBNET = "10.77.0.0/24"
DEFAULT_NODES = ("gpu-master", "gpu1", "gpu2")
HEAD = DEFAULT_NODES[0]
USERS = {"alice": 1001, "bob": 1002, "raysvc": 1003}
MARKER = "testbed.json"
MAX_NAME = 8  # leaves room for a suffix: the kernel allows 15 bytes in a network interface's name


@dataclass(frozen=True)
class Node:
    """One host of the cluster; `index` counts from 1 and decides its address and its range of process ids."""

    name: str
    index: int
    ip: str

    @property
    def role(self) -> str:
        """`head` or `worker`, as in the cluster's configuration."""
        return "head" if self.name == HEAD else "worker"


@dataclass(frozen=True)
class Settings:
    """Everything that distinguishes one test bed from another; stored in its directory by `up`."""

    name: str = DEFAULT_NAME
    subnet: str = DEFAULT_SUBNET
    directory: str = f"/var/lib/grid-testbed-{DEFAULT_NAME}"
    cpu: float = 0.66
    memory: int = 6 << 30
    unified_only: bool = False  # nodes as on a host without cgroup v1; without its controllers they have no limits

    @property
    def root(self) -> Path:
        """The state directory."""
        return Path(self.directory)

    @property
    def shared(self) -> Path:
        """A directory that every node sees, writable by everybody."""
        return self.root / "shared"

    @property
    def private(self) -> Path:
        """Where each node sees a directory of its own."""
        return self.root / "private"

    @property
    def bridge(self) -> str:
        """The bridge that joins the nodes."""
        return f"{self.name}br0"

    @property
    def host_ip(self) -> str:
        """The machine's own address on the bridge: the last usable one."""
        return str(ipaddress.ip_network(self.subnet)[-2])

    @property
    def prefix_length(self) -> int:
        """The subnet's prefix length."""
        return ipaddress.ip_network(self.subnet).prefixlen

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes, head first."""
        network = ipaddress.ip_network(self.subnet)
        return tuple(Node(name, index, str(network[index])) for index, name in enumerate(DEFAULT_NODES, start=1))

    @property
    def head(self) -> Node:
        """The head node."""
        return self.nodes[0]

    def node(self, name: str) -> Node:
        """The node called `name`; raises TestbedError naming the ones there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise TestbedError(f"there is no node {name!r}; there are: {', '.join(DEFAULT_NODES)}")

    def group(self, member: str = "") -> Group:
        """The control group of a member (a node, `witness`), or the one above them all."""
        return Group(f"{self.name}/{member}".rstrip("/"), hierarchies(unified_only=self.unified_only))

    def link(self, node: Node) -> str:
        """The machine's end of the node's network cable."""
        return f"{self.name}v{node.index}"

    def node_dir(self, node: Node) -> Path:
        """What belongs to one node alone."""
        return self.root / "nodes" / node.name

    def save(self) -> None:
        """Write the marker that makes a directory a test bed's own."""
        (self.root / MARKER).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the running test bed, else those that the environment asks for.

    The variables are those that `deploy/testbed --help` lists. Raises TestbedError for a value that makes no sense.
    """
    name = environ.get("GRID_TESTBED_NAME", DEFAULT_NAME)
    directory = Path(environ.get("GRID_TESTBED_DIR", f"/var/lib/grid-testbed-{name}")).resolve()
    marker = directory / MARKER
    if marker.exists():
        return _from_marker(json.loads(marker.read_text(encoding="utf-8")))
    if not re.fullmatch(rf"[a-z][a-z0-9]{{0,{MAX_NAME - 1}}}", name):
        raise TestbedError(f"GRID_TESTBED_NAME={name!r}: use at most {MAX_NAME} lower-case letters and digits")
    subnet = environ.get("GRID_TESTBED_SUBNET", DEFAULT_SUBNET)
    try:
        ipaddress.ip_network(subnet)
        cpu = float(environ.get("GRID_TESTBED_CPU", Settings.cpu))
        memory = int(environ.get("GRID_TESTBED_MEMORY", Settings.memory))
    except ValueError as error:
        raise TestbedError(f"GRID_TESTBED_SUBNET, GRID_TESTBED_CPU or GRID_TESTBED_MEMORY: {error}") from error
    cgroups = environ.get("GRID_TESTBED_CGROUPS", "machine")
    if cgroups not in {"machine", "v2"}:
        raise TestbedError(f"GRID_TESTBED_CGROUPS={cgroups!r}: use machine (what is mounted here) or v2 (that alone)")
    return Settings(name, subnet, str(directory), cpu, memory, unified_only=cgroups == "v2")


def _from_marker(stored: dict[str, Any]) -> Settings:
    return Settings(**stored)
