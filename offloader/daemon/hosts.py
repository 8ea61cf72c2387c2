"""How nodes are reached: this machine directly, every other one by SSH; and the launcher on each of them."""

from __future__ import annotations

from contextlib import AsyncExitStack

from offloader.adapters.commands import LocalHost
from offloader.config.models import Cluster, Node
from offloader.config.privileged import opener
from offloader.model import Role
from offloader.moves.agent import Agent
from offloader.moves.plan import MoveNode
from offloader.ports import Host

__all__ = ["agent_of"]


def agent_of(cluster: Cluster, node: Node, stack: AsyncExitStack, *, verb_s: float) -> Agent:
    """The launcher of a node; nothing is connected to before it is asked something. `stack` closes the connection."""
    return Agent(_host(node, stack), _move_node(cluster, node), verb_s=verb_s)


def _host(node: Node, stack: AsyncExitStack) -> Host:
    if node.role is Role.HEAD:
        return LocalHost(node.name)
    from offloader.adapters.ssh import SshHost, SshSettings  # noqa: PLC0415 - paramiko, only where nodes are remote

    given = node.ssh
    settings = SshSettings(
        host=given.host or node.address,
        user=given.user,
        port=given.port,
        identity_file=given.identity_file,
        known_hosts=given.known_hosts,
        config_file=given.config_file,
        sudo=given.sudo,
    )
    host = SshHost(node.name, settings)
    stack.push_async_callback(host.close)
    return host


def _move_node(cluster: Cluster, node: Node) -> MoveNode:
    address, criu = node.ray_node_ip or node.address, node.criu or ""
    return MoveNode(node.name, address, node.python, node.state_dir, criu, opener(cluster, node))
